"""The mean over an interval of steps, for rules that decide once an interval."""

import math
from dataclasses import dataclass, field

from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation


@dataclass(kw_only=True)
class IntervalMean(Stateful):
    """sum_t n_t x_t / sum_t n_t over the steps t added since the interval began, n_t their samples.

    Values that are not finite are left out. A step belongs to the interval that it began in, as a whole.
    """

    total: float = field(default=0.0, init=False)
    samples: int = field(default=0, init=False)

    def add(self, value: float, seen: Observation) -> None:
        """Add the value of the step `seen`."""
        if math.isfinite(value):
            self.total += value * seen.shape.samples
            self.samples += seen.shape.samples

    def close(self) -> float:
        """The mean, nan if nothing was added; the next interval begins."""
        mean = self.total / self.samples if self.samples else math.nan
        self.total, self.samples = 0.0, 0
        return mean
