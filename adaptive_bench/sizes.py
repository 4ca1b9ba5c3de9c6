"""Sizes and positions: the values that the stream, the schedulers and the trainer exchange."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchShape:
    """Rows of a batch and positions of a row. Images have block 1; in text a sample is a token."""

    batch: int
    block: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.block < 1:
            raise ValueError(f"a batch needs at least one row and one position, got {self.batch} x {self.block}")

    @property
    def samples(self) -> int:
        return self.batch * self.block

    def within(self, samples: int) -> "BatchShape":
        """The same shape, cut to what is left of a budget: to shorter rows, or to fewer ones where no position each is left.

        The rows of a text go on from step to step; fewer of them would have to be laid anew.
        """
        if self.samples <= samples:
            return self
        block = samples // self.batch
        return BatchShape(self.batch, block) if block else BatchShape(samples, 1)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run is, in samples: steps change their size, so they measure nothing."""

    samples: int
    budget: int
    epoch_samples: int

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return self.samples / self.budget

    @property
    def epoch(self) -> float:
        return self.samples / self.epoch_samples

    @property
    def epochs(self) -> float:
        """The whole budget in epochs."""
        return self.budget / self.epoch_samples

    def completed(self, interval: float | None) -> int:
        """How many whole intervals of so many epochs lie behind; None stands for a fifth of the budget."""
        spent = 5 * self.fraction if interval is None else self.epoch / interval
        # the tiny allowance makes 0.3 epochs hold three intervals of 0.1 although floats say 2.9999999999999996
        return math.floor(spent + 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRange:
    """The sizes a run may use. Schedulers wish, the range grants: nowhere else is a size clipped, rounded or its growth capped.

    Sizes are multiples of `multiple_of`; bounds that are none are drawn in to the next ones inside.
    `growth_cap` is the largest factor of one change; it never forbids a step of `multiple_of`. `cooldown` is how many epochs a
    size lasts at least, which a `SizeController` watches over: a range knows sizes only.
    """

    minimum: int = 1
    maximum: int
    multiple_of: int = 1
    growth_cap: float | None = None
    cooldown: float | None = None

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum", "multiple_of"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: a size is a whole number from 1 up")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum={self.minimum} is above maximum={self.maximum}; raise the one or lower the other")
        if self.smallest > self.largest:
            raise ValueError(
                f"multiple_of={self.multiple_of} has no multiple from minimum={self.minimum} to maximum={self.maximum}; "
                "widen the range or take a smaller multiple_of"
            )
        if self.growth_cap is not None and not self.growth_cap > 1:
            raise ValueError(f"growth_cap={self.growth_cap}: a factor above 1 is expected, or null for no cap")
        if self.cooldown is not None and not 0 <= self.cooldown < math.inf:
            raise ValueError(
                f"cooldown={self.cooldown}: a number of epochs from 0 up is expected, or null for the scheduler's own"
            )

    @property
    def smallest(self) -> int:
        return math.ceil(self.minimum / self.multiple_of) * self.multiple_of

    @property
    def largest(self) -> int:
        return self.maximum // self.multiple_of * self.multiple_of

    def grant(self, wish: float, current: int | None = None) -> int:
        """The admissible size nearest to `wish` (halves up), given that the run now has size `current`.

        An infinite wish gets the maximum. Raises ValueError for nan and for a wish that is not above 0.
        """
        if not wish > 0:
            raise ValueError(f"a scheduler wished for the size {wish}; a number above 0 is expected")
        if current is not None and self.growth_cap is not None and wish > current:
            capped = math.floor(current * self.growth_cap / self.multiple_of) * self.multiple_of
            wish = min(wish, max(capped, current + self.multiple_of))
        wish = min(max(wish, self.smallest), self.largest)
        return math.floor(wish / self.multiple_of + 0.5) * self.multiple_of
