"""The control that asks whether more than the average size matters."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, one_of
from adaptive_bench.schedulers.trajectory import Trajectory, read_trajectory
from adaptive_bench.size import Progress


@dataclass(kw_only=True)
class MeanMatched(SizeScheduler):
    """B = the mean size of a recorded run, the whole run.

    `match=updates`: the mean over its steps, samples / steps, which spends the budget in as many updates as the
    recorded run. `match=samples`: the mean over its samples, sum_i B_i^2 / sum_i B_i for images, the size that the
    average sample was served in; never below the other. A last step that the budget cut counts as the part of a step
    that it is. The range rounds the mean, so updates can differ by that. `trace` as in `Replay`; `initial` has no effect.

    Source: ours, a control.
    """

    trace: str | None = None
    results: str = "results"
    column: str = "batch_size"  # or block_size
    match: str = "updates"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("match", self.match, ("updates", "samples"))
        recorded = read_trajectory(self.trace, results=self.results, column=self.column)
        self._size = _over_steps(recorded) if self.match == "updates" else _over_samples(recorded)

    def only_grows(self) -> bool:
        return True

    def propose(self, progress: Progress) -> float:
        return self._size


def _over_steps(recorded: Trajectory) -> float:
    missing = 1 - recorded.cut
    return (sum(recorded.sizes) - missing * recorded.sizes[-1]) / (len(recorded.sizes) - missing)


def _over_samples(recorded: Trajectory) -> float:
    return sum(size * samples for size, samples in zip(recorded.sizes, recorded.samples, strict=True)) / recorded.total
