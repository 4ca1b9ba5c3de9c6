"""Batch-size warm-up along a measured critical batch size."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Factor, NotNegative


@dataclass(kw_only=True)
class CriticalWarmup(SizeScheduler):
    """B = initial * factor^floor(log_factor(C / initial)), at least initial; C is measured, and nothing here does that yet.

    The size doubles as the critical batch size C does.

    `curve` is C as it was measured over a run: points (share of the budget spent, critical batch size), linear between them.
    To measure one, branch checkpoints of a run at a small size to several sizes for a short while, the learning rate scaled
    along, and take the largest size that comes back to the same loss. C does not fall.

    The default curve is ours, and only shaped like the published one (near 0 at the start, rising fast, then flat): the source
    names no doubling points, and C belongs to a data set and a model. Measure it before drawing conclusions. The source
    multiplies the learning rate by sqrt(2) at each doubling (`lr_rule=sqrt`) and has its schedules in tokens, as all are here.

    Source: Merrill, Arora, Groeneveld, Hajishirzi 2025, arXiv 2505.23971.
    """

    curve: Sequence[Sequence[NotNegative]] = ((0, 1), (0.1, 512), (0.3, 1024), (1, 1536))  # (share of the budget, size)
    factor: Factor = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.curve or any(len(point) != 2 for point in self.curve):
            raise ValueError(f"curve={list(self.curve)}: pairs of a share of the budget and a size are expected, at least one")
        shares, sizes = zip(*self.curve, strict=True)
        if not (shares[0] == 0 and shares[-1] <= 1 and all(earlier < later for earlier, later in pairwise(shares))):
            raise ValueError(f"curve={list(self.curve)}: ascending shares of the budget, from 0 to at most 1, are expected")
        if not sizes[0] > 0 or any(later < earlier for earlier, later in pairwise(sizes)):
            raise ValueError(f"curve={list(self.curve)}: sizes above 0 that do not fall are expected")

    def propose(self, position: Position) -> float:
        # the tiny allowance makes 1,000 the third power of 10 although floats say 2.9999999999999996
        powers = math.floor(math.log(self.critical(position.fraction) / self.initial, self.factor) + 1e-9)
        return self.initial * self.factor ** max(0, powers)

    def critical(self, fraction: float) -> float:
        """The critical batch size where so much of the budget is spent."""
        passed = bisect_right(self.curve, fraction, key=lambda point: point[0])
        left, size = self.curve[passed - 1]
        if passed == len(self.curve):
            return size
        right, next_size = self.curve[passed]
        return size + (next_size - size) * (fraction - left) / (right - left)
