"""Growth in cycles."""

from dataclasses import dataclass
from typing import Literal

from adaptive_bench.schedulers.base import SizeScheduler, power
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Count, Positive


@dataclass(kw_only=True)
class Cyclical(SizeScheduler):
    """Growth that restarts every `cycle` intervals.

    With j = i mod cycle, i the number of completed intervals: B_i = initial + increment * j (`growth=linear`) or
    initial * factor^j (`growth=exponential`). `interval` is in epochs. The learning rate does not restart with the size; that
    takes a schedule that restarts.

    Source: lab sheet, strategy 3.
    """

    cycle: Count = 10  # intervals
    growth: Literal["linear", "exponential"] = "linear"
    increment: float = 32  # samples an interval, of linear growth
    factor: Positive = 1.25  # of exponential growth
    interval: Positive = 1  # epochs

    def propose(self, position: Position) -> float:
        inside = position.completed(self.interval) % self.cycle
        if self.growth == "linear":
            return max(1.0, self.initial + self.increment * inside)
        return max(1.0, self.initial * power(self.factor, inside))
