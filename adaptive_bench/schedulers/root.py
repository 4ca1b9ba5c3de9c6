"""Growth along a root of the time, as curricula of sequence lengths have it."""

import math
from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Positive, Shrinkage


@dataclass(kw_only=True)
class Root(SizeScheduler):
    """B = initial + (final - initial) * (t / duration)^(1 / degree), t the spent share of the budget; `final` from `duration` on.

    `degree=1` is linear growth (fixed_linear of the source), 2 the source's fixed_root. The source counts steps, where every
    schedule here is a function of the samples, and rounds down to a multiple of its difficulty step, where
    `block_size.multiple_of` rounds to the nearest.

    Source: DeepSpeed, curriculum_scheduler.py, for Li, Zhang, He 2022, arXiv 2108.06084.
    """

    final: Positive = 512
    duration: Shrinkage = 0.3  # share of the budget
    degree: Positive = 2

    def propose(self, position: Position) -> float:
        grown = math.pow(min(1.0, position.fraction / self.duration), 1 / self.degree)
        return self.initial + (self.final - self.initial) * grown
