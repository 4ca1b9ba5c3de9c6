"""Growth by an increment at fixed intervals."""

import math
from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import positive


@dataclass(kw_only=True)
class Linear(SizeScheduler):
    """B_i = initial + increment * i after i intervals.

    `interval` is in epochs, None a fifth of the budget. A negative increment shrinks the size; where it would fall to 0 or below,
    it is 1.

    Source: lab sheet, strategy 1.
    """

    increment: float = 32  # samples an interval
    interval: float | None = 1  # epochs; None: a fifth of the budget

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval is not None:
            positive("interval", self.interval)
        if not math.isfinite(self.increment):
            raise ValueError(f"increment={self.increment}: a finite number of samples is expected")

    def propose(self, position: Position) -> float:
        return max(1.0, self.initial + self.increment * position.completed(self.interval))
