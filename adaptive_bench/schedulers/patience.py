"""Patience: notices that a metric has stopped improving, for the rules that wait for a plateau."""

import math
from dataclasses import dataclass, field
from typing import Literal

from adaptive_bench.stateful import Stateful
from adaptive_bench.validation import NotNegative, Whole


@dataclass(kw_only=True)
class Patience(Stateful):
    """More than `patience` evaluations in a row without an improvement, as torch's ReduceLROnPlateau counts them.

    v, of which more is better, improves on the best so far where v > best + threshold * |best| (`threshold_mode=relative`) or
    v > best + threshold (`absolute`). The first finite value is an improvement; a value that is not finite never is. A stall
    restarts the count and keeps the best value.
    """

    patience: Whole
    threshold: NotNegative = 1e-4  # of the best value, or in its unit
    threshold_mode: Literal["relative", "absolute"] = "relative"
    best: float | None = field(default=None, init=False)
    count: int = field(default=0, init=False)  # evaluations since the last improvement or stall

    def at(self, value: float, *, counts: bool = True) -> bool:
        """Count an evaluation; returns whether it completes a stall. One with `counts=False` can still be an improvement."""
        if self._improves(value):
            self.best, self.count = value, 0
        elif counts:
            self.count += 1
        stalled = self.count > self.patience
        if stalled:
            self.count = 0
        return stalled

    def _improves(self, value: float) -> bool:
        if self.best is None or not math.isfinite(value):
            return math.isfinite(value)
        margin = self.threshold * abs(self.best) if self.threshold_mode == "relative" else self.threshold
        return value > self.best + margin
