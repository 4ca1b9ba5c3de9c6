"""The control that asks whether the path to the largest size matters."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.trajectory import read_trajectory
from adaptive_bench.sizes import Position
from adaptive_bench.validation import one_of


@dataclass(kw_only=True)
class Jump(SizeScheduler):
    """B = a recorded run's first size until it first reached its maximum, then that maximum: one step.

    `at=change` jumps where the recorded size first changed instead.
    The moment is the share of the budget. A run that never changed, or began at its maximum, is a constant. `trace` as in
    `Replay`; `initial` has no effect.

    Source: ours, a control.
    """

    trace: str | None = None
    results: str = "results"
    column: str = "batch_size"  # or block_size
    at: str = "maximum"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("at", self.at, ("maximum", "change"))
        self._path = read_trajectory(self.trace, results=self.results, column=self.column)
        sizes = self._path.sizes
        self._first, self._largest = sizes[0], max(sizes)
        changes = (step for step, size in enumerate(sizes) if size != self._first)
        step = sizes.index(self._largest) if self.at == "maximum" else next(changes, 0)
        self._start = self._path.starts[step]

    def propose(self, position: Position) -> float:
        return self._first if self._path.sample_at(position) < self._start else self._largest
