"""Growth by an increment at fixed intervals."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Positive


@dataclass(kw_only=True)
class Linear(SizeScheduler):
    """B_i = initial + increment * i after i intervals.

    `interval` is in epochs, None a fifth of the budget. A negative increment shrinks the size; where it would fall to 0 or below,
    it is 1.

    Source: lab sheet, strategy 1.
    """

    increment: float = 32  # samples an interval
    interval: Positive | None = 1  # epochs; None: a fifth of the budget

    def propose(self, position: Position) -> float:
        return max(1.0, self.initial + self.increment * position.completed(self.interval))
