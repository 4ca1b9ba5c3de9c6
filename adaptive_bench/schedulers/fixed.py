"""A fixed size: the baseline."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position


@dataclass(kw_only=True)
class Fixed(SizeScheduler):
    """B = initial, the whole run: the baseline of every comparison.

    Source: the usual practice.
    """

    def propose(self, position: Position) -> float:
        return self.initial
