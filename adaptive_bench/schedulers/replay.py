"""The control that asks whether feedback matters."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.trajectory import read_trajectory
from adaptive_bench.sizes import Position


@dataclass(kw_only=True)
class Replay(SizeScheduler):
    """B = the size that a recorded run had at the same share of its budget: its trajectory, blind.

    On another seed, what the original gains over its replay is what its feedback is worth. At equal budgets and
    unchanged limits the sizes are the recorded ones, step by step: those that were granted, whatever the end of a text or of
    the budget left of them. `trace` is the run's digest in the folder `results`, its folder or its trace.parquet;
    the run must be finished. A run that diverged is replayed up to there, stretched over the whole budget. `initial`
    has no effect.

    Source: ours, a control.
    """

    trace: str | None = None
    results: str = "results"
    column: str = "batch_size"  # or block_size

    def __post_init__(self) -> None:
        super().__post_init__()
        self._path = read_trajectory(self.trace, results=self.results, column=self.column)

    def propose(self, position: Position) -> float:
        return self._path.at(position)
