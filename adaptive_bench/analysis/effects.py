"""Why an arm does what it does: the arm against its controls."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .arms import Arm, ArmSummary, Question, speedup
from .compare import NONE, Comparison, holm
from .verdict import SIGNIFICANT

# what each control leaves out, in the order in which effects are peeled off
EFFECTS = {"variation": "mean_matched", "order": "shuffled", "feedback": "replay"}
EXPLAINED = {  # by the last effect that is shown
    "": "nothing but its average size is shown to be needed for it",
    "variation": "sizes that vary explain it, in any order",
    "order": "its sizes in their order explain it, without feedback",
    "feedback": "its feedback is part of it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an arm has that its `control` has not: `variation` of sizes, their `order`, or `feedback`.

    `speedup` is the control's cost to the target over the arm's, for the endpoint; `change` the arm's metric against the
    control's. Runs are paired by seed: the control of seed k follows the sizes of the next seed, from the start of seed k.
    """

    arm: str
    name: str
    control: str
    speedup: Comparison
    change: Comparison


def effects(
    arms: Sequence[Arm], *, question: Question, alike: Callable[[Arm, Arm], bool] = lambda control, arm: False
) -> tuple[Effect, ...]:
    """The effects of every arm that has controls; no speed-up where both still were `alike` when they reached the target."""
    own = {arm.label: arm for arm in arms}
    found = []
    for label, arm in own.items():
        for name, control in EFFECTS.items():
            other = own.get(f"{label}: {control}")
            if other is not None and other.control_of == label:
                found.append(
                    Effect(
                        arm=label,
                        name=name,
                        control=other.label,
                        speedup=NONE if alike(other, arm) else speedup(question.endpoint, baseline=other, arm=arm),
                        change=question.change(other.values, arm.values),
                    )
                )
    return tuple(found)


def explained(row: ArmSummary, of_arm: Mapping[str, Effect], *, maximise: bool, endpoint: str, baseline: str) -> str:
    """What the tests allow to say of an arm's gain over the baseline. Effects that are not shown may still be there.

    An effect is shown if the arm is faster or better than its control, by p below 5 % that are corrected by Holm over all tests
    of the arm's effects. Controls that are shown to be faster than the arm are named, too.
    """
    assert row.change is not None
    tests = [each.speedup for each in of_arm.values()] + [each.change for each in of_arm.values()]
    corrected = holm([test.p for test in tests])
    signs = [math.copysign(p < SIGNIFICANT, test.estimate) for test, p in zip(tests, corrected, strict=True)]
    speed, quality = (dict(zip(of_arm, part, strict=True)) for part in (signs[: len(of_arm)], signs[len(of_arm) :]))
    shown = [name for name in of_arm if speed[name] > 0 or quality[name] == (1 if maximise else -1)]
    lost = [of_arm[name].control for name in of_arm if speed[name] < 0]
    slower = f", and it is slower than {', '.join(lost)}" if lost else ""
    faster = row.speedup_holm < SIGNIFICANT and row.speedups[endpoint].estimate > 0
    better = row.holm < SIGNIFICANT and (row.change.estimate > 0) == maximise
    if not (faster or better):
        return f"{row.label} shows no gain over {baseline} that would want an explanation{slower}"
    if missing := [name for name in EFFECTS if name not in of_arm]:
        return f"{row.label}'s gain over {baseline} is not explained: there is no control for {', '.join(missing)}{slower}"
    last = next((name for name in reversed(EFFECTS) if name in shown), "")
    return f"{row.label}'s gain over {baseline}: {EXPLAINED[last]}{slower}"
