"""A list of sizes with the epochs at which they start."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Positive


@dataclass(kw_only=True)
class Step(SizeScheduler):
    """B = initial before the first milestone, sizes[j] from milestones[j] on. Milestones are in epochs, ascending.

    Source: ours; the control that any adaptive method must beat.
    """

    milestones: Sequence[Positive] = (20,)  # epochs
    sizes: Sequence[Positive] = (2048,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.milestones) != len(self.sizes) or not self.sizes:
            raise ValueError(
                f"milestones={list(self.milestones)} and sizes={list(self.sizes)}: "
                "lists of one length, at least one entry, are expected"
            )
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)}: ascending epochs are expected")

    def propose(self, position: Position) -> float:
        passed = bisect_right(self.milestones, position.epoch + 1e-9)  # allowance as in Position.completed
        return self.sizes[passed - 1] if passed else self.initial
