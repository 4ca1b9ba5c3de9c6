"""Sizes and positions: the values that the stream, the schedulers and the trainer exchange."""

import math
from dataclasses import dataclass, replace

from adaptive_bench.validation import Count, Factor, NotNegative, check_fields


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Rows of a batch and positions of a row. Images have block 1; in text a sample is a token.

    `real` is the number of positions that are samples, where some are padding; None: all.
    """

    batch: int
    block: int = 1
    real: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.block < 1:
            raise ValueError(f"a batch needs at least one row and one position, got {self.batch} x {self.block}")

    @property
    def samples(self) -> int:
        return self.padded if self.real is None else self.real

    @property
    def padded(self) -> int:
        """All positions, padding included."""
        return self.batch * self.block

    def within(self, samples: int) -> "BatchShape":
        """The same shape, cut to the samples that a budget has left: shorter rows, or fewer if not one position each is left.

        Shorter rows come first, because the rows of a text continue from step to step and would have to be cut anew.
        """
        if self.samples <= samples:
            return self
        block = samples // self.batch
        return BatchShape(self.batch, block) if block else BatchShape(samples, 1)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run is, in samples. Steps differ in size, so their number says nothing."""

    samples: int
    budget: int
    epoch_samples: int

    @property
    def fraction(self) -> float:
        """The spent share of the budget, 0 to 1."""
        return self.samples / self.budget

    @property
    def epoch(self) -> float:
        return self.samples / self.epoch_samples

    @property
    def epochs(self) -> float:
        """The whole budget in epochs."""
        return self.budget / self.epoch_samples

    def completed(self, interval: float | None) -> int:
        """How many whole intervals of `interval` epochs are over; None stands for a fifth of the budget."""
        spent = 5 * self.fraction if interval is None else self.epoch / interval
        # the tiny allowance makes 0.3 epochs hold three intervals of 0.1 although floats say 2.9999999999999996
        return math.floor(spent + 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How small a size may get and how fast it may change. A scheduler suggests its limits, a `SizeRange` overrides them.

    None leaves a limit open: no minimum above 1, no cap and no cooldown, unless someone else sets one.
    """

    minimum: Count | None = None
    growth_cap: Factor | None = None  # largest factor of one change
    cooldown: NotNegative | None = None  # epochs between two changes, at least

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRange(Limits):
    """The sizes a run may use. Schedulers propose sizes; only the range clips and rounds them and caps their growth.

    Sizes are multiples of `multiple_of`. A bound that is no multiple moves to the next multiple inside the range. `growth_cap`
    never forbids a step of `multiple_of`. The `SizeController` applies `cooldown`, and fills in the scheduler's limits for those
    that are None here.
    """

    maximum: Count
    multiple_of: Count = 1

    def __post_init__(self) -> None:
        Limits.__post_init__(self)  # slots rule out super()
        minimum = self.minimum or 1
        if minimum > self.maximum:
            raise ValueError(f"minimum={minimum} is above maximum={self.maximum}; raise the one or lower the other")
        if self.smallest > self.largest:
            raise ValueError(
                f"multiple_of={self.multiple_of} has no multiple from minimum={minimum} to maximum={self.maximum}; "
                "widen the range or take a smaller multiple_of"
            )

    @property
    def smallest(self) -> int:
        return math.ceil((self.minimum or 1) / self.multiple_of) * self.multiple_of

    @property
    def largest(self) -> int:
        return self.maximum // self.multiple_of * self.multiple_of

    def cut(self, largest: int) -> "SizeRange":
        """The part of the range up to `largest`, which is all that a data set has."""
        return replace(self, minimum=min(self.minimum or 1, largest), maximum=min(self.maximum, largest))

    def grant(self, proposed: float, current: int | None = None) -> int:
        """The admissible size nearest to the proposed size (halves up), given that the run now has size `current`.

        An infinite proposal gets the maximum. Raises ValueError for nan and for a proposal that is not above 0.
        """
        if not proposed > 0:
            raise ValueError(f"a scheduler proposed the size {proposed}; a number above 0 is expected")
        if current is not None and self.growth_cap is not None and proposed > current:
            capped = math.floor(current * self.growth_cap / self.multiple_of) * self.multiple_of
            proposed = min(proposed, max(capped, current + self.multiple_of))
        proposed = min(max(proposed, self.smallest), self.largest)
        return math.floor(proposed / self.multiple_of + 0.5) * self.multiple_of
