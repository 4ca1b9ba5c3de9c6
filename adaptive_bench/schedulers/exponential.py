"""Strategy 2 of the lab sheet."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, power
from adaptive_bench.sizes import Position
from adaptive_bench.validation import positive


@dataclass(kw_only=True)
class Exponential(SizeScheduler):
    """B_i = initial * factor^i after i intervals.

    `interval` is in epochs, None a fifth of the budget. The power is of the real value, not of a rounded size, so nothing drifts:
    16 with factor 2 every 10 epochs is 16, 32, 64, 128, 256. A factor below 1 shrinks the size, down to a wish of 1.

    Source: lab sheet, strategy 2.
    """

    factor: float = 1.1
    interval: float | None = 1  # epochs; None: a fifth of the budget

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("factor", self.factor)
        if self.interval is not None:
            positive("interval", self.interval)

    def propose(self, position: Position) -> float:
        return max(1.0, self.initial * power(self.factor, position.completed(self.interval)))
