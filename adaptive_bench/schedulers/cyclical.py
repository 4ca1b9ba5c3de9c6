"""Growth in cycles."""

import math
from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, power
from adaptive_bench.sizes import Position
from adaptive_bench.validation import positive


@dataclass(kw_only=True)
class Cyclical(SizeScheduler):
    """Growth that restarts every `cycle` intervals.

    With j = i mod cycle, i the number of completed intervals: B_i = initial + increment * j (`growth=linear`) or
    initial * factor^j (`growth=exponential`). `interval` is in epochs. The learning rate does not restart with the size; that
    takes a schedule that restarts.

    Source: lab sheet, strategy 3.
    """

    cycle: int = 10  # intervals
    growth: str = "linear"
    increment: float = 32  # samples an interval, of linear growth
    factor: float = 1.25  # of exponential growth
    interval: float = 1  # epochs

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("factor", self.factor)
        positive("interval", self.interval)
        if isinstance(self.cycle, bool) or not isinstance(self.cycle, int) or self.cycle < 1:
            raise ValueError(f"cycle={self.cycle!r}: a whole number of intervals from 1 up is expected")
        if self.growth not in ("linear", "exponential"):
            raise ValueError(f"growth={self.growth!r}: linear or exponential is expected")
        if not math.isfinite(self.increment):
            raise ValueError(f"increment={self.increment}: a finite number of samples is expected")

    def propose(self, position: Position) -> float:
        inside = position.completed(self.interval) % self.cycle
        if self.growth == "linear":
            return max(1.0, self.initial + self.increment * inside)
        return max(1.0, self.initial * power(self.factor, inside))
