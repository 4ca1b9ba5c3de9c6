"""The control that asks whether more than the average size matters."""

from collections.abc import Sequence
from dataclasses import dataclass

from adaptive_bench.schedulers.trajectory import Control, Trajectory
from adaptive_bench.validation import one_of


@dataclass(kw_only=True)
class MeanMatched(Control):
    """B = the mean size of a run, the whole run: of a recorded one, or of a schedule.

    `match=updates`: the mean over its updates, samples / updates, which spends the budget in as many of them as that
    run. `match=samples`: the mean over its samples, sum_i B_i^2 / sum_i B_i over a recorded run's steps for images, the size
    that the average sample was served in; never below the other. A last step that the budget cut counts as the part of a step
    that it is. Of a schedule's wishes at 100 equal shares of the budget, whatever the range would make of them, the two means
    are the harmonic and the arithmetic one: 41.29 and 99.2 where 16 doubles to 256 in five equal stages. The range rounds the
    mean, so updates can differ by that.
    `trace` as in `Replay`, `schedule` as in `Reversed`; `initial` has no effect.

    Source: ours, a control.
    """

    match: str = "updates"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("match", self.match, ("updates", "samples"))

    def altered(self, path: Trajectory) -> Trajectory:
        weights = path.updates if self.match == "updates" else path.samples
        return Trajectory.of([_mean(path.sizes, weights)], [path.total])


def _mean(sizes: Sequence[float], weights: Sequence[float]) -> float:
    return sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / sum(weights)
