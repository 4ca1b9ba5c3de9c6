"""The batch size follows the entropy of the model's outputs."""

import math
from dataclasses import dataclass, field
from typing import Literal

from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.schedulers.interval_mean import IntervalMean
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Growth, Positive, Share, Shrinkage


@dataclass(kw_only=True)
class Confidence(FeedbackScheduler):
    """B grows while the model's outputs have low entropy and shrinks while they have high entropy, or the other way round.

    H is the entropy of the softmax over log C, C the number of classes or words: 0 for a model that is certain, 1 for one that
    takes all for equally likely. It is measured on training batches in training mode (dropout on), and averaged, weighted by
    samples, over the measured steps of an interval: `every` samples (None: an epoch). At the end of an interval

    - rule=thresholds: B <- B * grow where H < low, B * shrink where H > high, B between them;
    - rule=continuous: B = smallest + (largest - smallest) * (1 - H).

    `direction=high_entropy_grows` puts 1 - H for H. The sheet grows at low entropy; ConfBatch (PMLR 329, 2026), which scores
    confidence by conformal sets, tested both directions: its standard one took the least time, the opposite one had the best
    accuracy on CIFAR-10. Thresholds, factors and the continuous rule are our reading; the sheet gives no numbers.

    Of very many words, entropy over log C starts at 1 and stays well above 0: move `low` and `high` up for a language model.

    Source: lab sheet, strategy 5.
    """

    needs = frozenset({Stat.ENTROPY})

    rule: Literal["thresholds", "continuous"] = "thresholds"
    direction: Literal["low_entropy_grows", "high_entropy_grows"] = "low_entropy_grows"
    every: Count | None = None  # samples; None: an epoch
    low: Share = 0.3  # of H, as high
    high: Share = 0.7
    grow: Growth = 1.25  # factor of one change, as shrink
    shrink: Shrinkage = 0.8
    smallest: Positive | None = None  # size of the continuous rule at H = 1; None: initial
    largest: Positive = 2048  # its size at H = 0
    entropy: float | None = field(default=None, init=False)  # of the last interval
    entropies: IntervalMean = field(default_factory=IntervalMean, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(f"low={self.low}, high={self.high}: 0 <= low <= high <= 1 is expected")
        if self.rule == "continuous" and self._smallest > self.largest:
            raise ValueError(f"largest={self.largest}: at least the smallest size, {self._smallest:g}, is expected")

    def only_grows(self) -> bool:
        return self.rule == "thresholds" and self.shrink == 1

    def observe(self, seen: Observation) -> None:
        if Stat.ENTROPY in seen.stats:
            self.entropies.add(seen.stats[Stat.ENTROPY], seen)
        if not seen.crossed(seen.position.epoch_samples if self.every is None else self.every):
            return
        entropy = self.entropies.close()
        if not math.isnan(entropy):
            self.entropy = entropy
            self.size = self._size(entropy, seen.granted)

    def _size(self, entropy: float, granted: int) -> float:
        uncertainty = entropy if self.direction == "low_entropy_grows" else 1 - entropy
        if self.rule == "continuous":
            # an entropy a rounding error above 1 must not reach below the smallest size
            return self._smallest + (self.largest - self._smallest) * max(0.0, 1 - uncertainty)
        if uncertainty < self.low:
            return granted * self.grow
        return granted * self.shrink if uncertainty > self.high else float(granted)

    @property
    def _smallest(self) -> float:
        return self.initial if self.smallest is None else self.smallest

    def signals(self) -> dict[str, float]:
        return {"interval_entropy": math.nan if self.entropy is None else self.entropy}
