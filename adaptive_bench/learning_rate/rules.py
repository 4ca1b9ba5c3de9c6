"""Rules that change the learning rate with the size: a factor as a function of ratio = size / first size."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import final

from adaptive_bench.schedulers.averages import NOISE, NoiseScale
from adaptive_bench.schedulers.base import due
from adaptive_bench.sizes import Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import NotNegative, Whole


@dataclass(kw_only=True)
class LrRule(Stateful, ABC):
    """A factor on the learning rate that follows the size. It is independent of the schedule, which is another factor."""

    @property
    def needs(self) -> frozenset[Stat]:
        """The statistics that `observe` reads."""
        return frozenset()

    def measures(self, position: Position, samples: int) -> bool:
        """Whether `needs` are to be measured on the step that starts at `position` and has `samples` samples."""
        return True

    def observe(self, seen: Observation) -> None:
        """Take note of a finished step."""

    @abstractmethod
    def factor(self, ratio: float) -> float:
        """The factor for steps at `ratio` times the first size. Changes nothing."""


@final
class Unchanged(LrRule):
    """1: the learning rate does not depend on the size."""

    def factor(self, ratio: float) -> float:
        return 1.0


@final
class Linear(LrRule):
    """ratio (Goyal et al. 2017, arXiv 1706.02677); DiveBatch's rescaling."""

    def factor(self, ratio: float) -> float:
        return ratio


@final
class Sqrt(LrRule):
    """sqrt(ratio) (Krizhevsky 2014, arXiv 1404.5997; Hoffer et al. 2017, arXiv 1705.08741)."""

    def factor(self, ratio: float) -> float:
        return math.sqrt(ratio)


@final
class Smith(LrRule):
    """ratio, for scheduler=smith (Smith et al. 2018, arXiv 1711.00489): growth by 1/s cancels the decay by the schedule s.

    The learning rate then stays constant until the batch is as large as it may be, and decays as scheduled from there on; lr / B
    is what it would be at a fixed batch under the schedule.
    """

    def factor(self, ratio: float) -> float:
        return ratio


@final
class Seesaw(LrRule):
    """sqrt(ratio), for scheduler=seesaw (Meterez et al. 2025, arXiv 2510.14717): growth by 1/s leaves sqrt(s) of it."""

    def factor(self, ratio: float) -> float:
        return math.sqrt(ratio)


@final
@dataclass(kw_only=True)
class AdaScale(LrRule):
    """r = (phi + 1) / (phi / ratio + 1), phi = B_simple / first batch: the gain of AdaScale (Johnson et al. 2020, ICML).

    Both are in samples, as the ratio is; of a text, where B_simple comes in rows, a row is as many samples as it has tokens.

    r is 1 without noise, and the ratio where noise is all there is. The moments of B_simple are averaged with a
    half-life in samples (None: an epoch). The paper also lets its schedule advance by r a step; here schedules are functions
    of samples for every rule, which is the budget that the arms of a table share.
    """

    half_life: NotNegative | None = None  # samples; None: an epoch
    measure_every: Whole = 0  # samples between two measured steps; 0: every step
    noise: NoiseScale = field(init=False)
    first: int = field(default=0, init=False)  # samples of the first batch
    block: float = field(default=1, init=False)  # samples a row, of the last whole step

    def __post_init__(self) -> None:
        super().__post_init__()
        self.noise = NoiseScale(half_life=self.half_life)

    @property
    def needs(self) -> frozenset[Stat]:
        return NOISE

    def measures(self, position: Position, samples: int) -> bool:
        return due(self.measure_every, position, samples)

    def observe(self, seen: Observation) -> None:
        self.first = self.first or seen.shape.samples
        if seen.uncut:
            self.block = seen.shape.samples / seen.shape.batch
        self.noise.add(seen)

    def factor(self, ratio: float) -> float:
        noise_scale = self.noise.value
        if math.isnan(noise_scale):
            return 1.0
        if math.isinf(noise_scale):
            return ratio
        phi = noise_scale * self.block / self.first
        return (phi + 1) / (phi / ratio + 1)
