"""The control that asks whether the direction of the sizes matters."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.trajectory import read_trajectory
from adaptive_bench.size import Progress


@dataclass(kw_only=True)
class Reversed(SizeScheduler):
    """B = the sizes of a recorded run's steps from the last to the first.

    Sizes, updates and samples are the recorded run's; what grew now shrinks. A last step that the budget cut stays
    last. `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `initial`
    has no effect.

    Source: ours, a control.
    """

    trace: str | None = None
    results: str = "results"
    column: str = "batch_size"  # or block_size

    def __post_init__(self) -> None:
        super().__post_init__()
        recorded = read_trajectory(self.trace, results=self.results, column=self.column)
        self._path = recorded.ordered(range(recorded.whole() - 1, -1, -1))

    def propose(self, progress: Progress) -> float:
        return self._path.at(progress)
