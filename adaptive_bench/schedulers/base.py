"""The interface of every scheduler: it observes finished steps and proposes a size for the next one."""

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from adaptive_bench.sizes import Limits, Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Factor, NotNegative, Positive, Whole

Noise: TypeAlias = Literal["grows", "shrinks"]  # what noise does to the size; the documents disagree


@dataclass(kw_only=True)
class SizeScheduler(Stateful, ABC):
    """A rule for a size (batch size or block size) as a function of position and of what was observed.

    Constructor fields are settings; fields with `init=False` are state, and only `observe` changes them.
    `minimum`, `cooldown` and `growth_cap` are the limits that the method suggests. The configuration can override them, and the
    `SizeController` applies them, never the rule itself.
    """

    not_for_blocks: ClassVar[str] = ""  # why the rule cannot drive the block size; "" if it can

    initial: Positive = 128
    minimum: Count = 1  # smallest size
    cooldown: NotNegative = 0  # epochs that a size lasts at least
    growth_cap: Factor | None = None  # largest factor of one change
    measure_every: Whole = 0  # samples between two measured steps; 0: every step

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limits = Limits(minimum=self.minimum, growth_cap=self.growth_cap, cooldown=self.cooldown)

    @property
    def needs(self) -> frozenset[Stat]:
        """The statistics that `observe` reads."""
        return frozenset()

    def only_grows(self) -> bool:
        """Whether the size never falls, so that nothing needs measuring at the maximum. Only rules with `needs` say so."""
        return False

    def measures(self, position: Position, samples: int) -> bool:
        """Whether `needs` are to be measured on the step that starts at `position` and has `samples` samples.

        By default one step in every `measure_every` samples is measured. Rules that must see certain steps override this.
        """
        return due(self.measure_every, position, samples)

    def observe(self, seen: Observation) -> None:
        """Take note of a finished step."""

    @abstractmethod
    def propose(self, position: Position) -> float:
        """The proposed size for the step that starts at `position`, before any rounding or clipping. Changes nothing."""

    def signals(self) -> dict[str, float]:
        """The numbers behind the rule's decision, by name, for the trace. The names never change during a run."""
        return {}


@dataclass(kw_only=True)
class FeedbackScheduler(SizeScheduler):
    """A rule that keeps its proposed size as state: it proposes `initial` until `observe` sets `size`."""

    size: float = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size = float(self.initial)

    @abstractmethod
    def observe(self, seen: Observation) -> None:
        """Take note of a finished step, and set `size` where the rule decides."""

    def propose(self, position: Position) -> float:
        return self.size


def mirrored(size: float, initial: float) -> float:
    """The mirror image of a size about the first one, on a logarithmic scale: what a rule wishes whose sign is turned.

    That of inf is the smallest number above 0, for a rule may not wish for nothing.
    """
    return max(initial * initial / size, sys.float_info.min) if size > 0 else math.inf


def refuse_monotone(noise: Noise, *, monotone: bool) -> None:
    """Raises ValueError for a rule that shrinks on noise and may not shrink."""
    if noise == "shrinks" and monotone:
        raise ValueError("noise='shrinks': with monotone=true the size never shrinks; take monotone=false")


def due(every: int, position: Position, samples: int) -> bool:
    """Whether the step that starts at `position` and has `samples` samples holds a multiple of `every`; 0: always."""
    return not every or -position.samples % every < samples


def power(factor: float, exponent: float) -> float:
    """factor^exponent, or infinity if a float cannot hold it; the range then grants its maximum."""
    try:
        return math.pow(factor, exponent)
    except OverflowError:
        return math.inf
