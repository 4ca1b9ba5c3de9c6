"""Why an arm does what it does: the arm against its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .arms import Arm, ArmSummary, Question, speedup
from .compare import Comparison
from .verdict import SIGNIFICANT

# what each control leaves out, in the order in which effects are peeled off
EFFECTS = {"variation": "mean_matched", "order": "shuffled", "feedback": "replay"}
EXPLAINED = {  # by the last effect that is shown
    "": "no more than its average size is needed to explain it",
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

    def shown(self, *, maximise: bool) -> bool:
        """Whether the arm is faster or better than its control, each with an uncorrected p below 5 %."""
        faster = self.speedup.p < SIGNIFICANT and self.speedup.estimate > 0
        better = self.change.p < SIGNIFICANT and (self.change.estimate > 0) == maximise
        return faster or better


def effects(arms: Sequence[Arm], *, question: Question) -> tuple[Effect, ...]:
    """The effects of every arm that has controls."""
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
                        speedup=speedup(question.endpoint, baseline=other, arm=arm),
                        change=question.change(other.values, arm.values),
                    )
                )
    return tuple(found)


def explained(row: ArmSummary, of_arm: Mapping[str, Effect], *, maximise: bool, endpoint: str, baseline: str) -> str:
    """What the intervals allow to say of an arm's gain over the baseline. Effects that are not shown may still be there."""
    assert row.change is not None
    faster = row.speedup_holm < SIGNIFICANT and row.speedups[endpoint].estimate > 0
    better = row.holm < SIGNIFICANT and (row.change.estimate > 0) == maximise
    if not (faster or better):
        return f"{row.label} shows no gain over {baseline} that would want an explanation"
    if missing := [name for name in EFFECTS if name not in of_arm]:
        return f"{row.label}'s gain over {baseline} is not explained: there is no control for {', '.join(missing)}"
    last = ""
    for name in EFFECTS:
        if of_arm[name].shown(maximise=maximise):
            last = name
    return f"{row.label}'s gain over {baseline}: {EXPLAINED[last]}"
