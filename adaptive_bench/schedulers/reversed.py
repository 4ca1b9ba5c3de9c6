"""The control that asks whether the direction of the sizes matters."""

from dataclasses import dataclass

from adaptive_bench.schedulers.trajectory import Control, Trajectory


@dataclass(kw_only=True)
class Reversed(Control):
    """B = the sizes of a run from the last to the first: a recorded run's steps, or a schedule's hundredths of the budget.

    Sizes, updates and samples are that run's; what grew now shrinks. A last step that the budget cut stays last.
    `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `initial` has no effect.

    `schedule`, instead of a trace, is a rule that sees nothing but the clock: no earlier run is needed. It is asked at the
    starts of 100 equal shares of the budget, so changes at hundredths of it are met exactly, others up to a hundredth late.
    Its `minimum`, `cooldown` and `growth_cap` have no effect, and where a step is larger than a share some shares are passed
    over. `+scheduler@scheduler.schedule=exponential scheduler.schedule.factor=2` takes it from the configurations.

    Source: ours, a control.
    """

    def altered(self, path: Trajectory) -> Trajectory:
        return path.ordered(range(path.whole() - 1, -1, -1))
