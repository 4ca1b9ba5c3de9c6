"""DEBA as a popular account describes it: one stability score drives the batch size."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import FeedbackScheduler, Noise
from adaptive_bench.schedulers.calibration import Calibration, checked_weights
from adaptive_bench.schedulers.epoch_signals import NEEDS, SIGNALS, EpochSignals, GradSource
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Growth, NotNegative, Several, Share, Shrinkage


@dataclass(kw_only=True)
class EpochController(FeedbackScheduler):
    """What both DEBA controllers share: once an epoch, the size is multiplied by a decision that is made on `EpochSignals`."""

    minimum: Count = 16
    cooldown: NotNegative = 5  # epochs
    grow: Growth = 1.5
    shrink: Shrinkage = 0.8
    window: Several = 15  # epochs
    grad_source: GradSource = "last_batch"
    calibration: Calibration | None = None
    stability: EpochSignals = field(init=False)
    decision: float = field(default=1.0, init=False)  # factor: grow, shrink or 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stability = EpochSignals(grad_source=self.grad_source, window=self.window)

    @property
    def needs(self) -> frozenset[Stat]:
        return NEEDS[self.grad_source]

    def measures(self, position: Position, samples: int) -> bool:
        return self.stability.measures(position, samples)

    def observe(self, seen: Observation) -> None:
        self.stability.observe(seen)
        if seen.crossed(seen.position.epoch_samples):
            self.decision = self.decide()
            self.size = seen.granted * self.decision

    @abstractmethod
    def decide(self) -> float:
        """The factor on the size after a finished epoch: grow, shrink or 1."""


@dataclass(kw_only=True)
class Deba(EpochController):
    """B <- 1.5 B where the stability score is above `up`, 0.8 B where it is below `down`, once an epoch.

    Over the signals m in {variance, norm_variation, loss_variation} of `EpochSignals`, in a window of 15 epochs,

        share_m = m_t / (m_t + ref_m),  score = 1 - sum_m w_m share_m,

    so a share, and the score, is 0.5 where every signal stands at its reference level. A `calibration` of the
    architecture (`adaptive-bench calibrate`) gives levels and weights; without it ref_m is the median of the window, the
    current value excluded, and the weights are equal. `weights` overrides the calibration's. An epoch without all
    three signals is a hold. `cooldown` epochs lie between two changes; the method's bounds, 16 to 2048, are
    `batch_size.minimum` and `batch_size.maximum`.

    The shares, the thresholds and the calibration are our reading: the account names a weighted score, a window, a
    cooldown and weights that belong to the architecture, and no formula. `noise=grows` turns the variance's share into
    1 - share: the article lets a high variance shrink the batch, the lab sheet's sixth strategy grow it. The variance is the
    spread of the components of one gradient, not gradient noise. Reference levels hold for the batch size they were measured at.
    `measure_every` has no effect.

    Source: Belias, Ezzati-Jivan and Khomh 2025, arXiv 2511.03809, in the reading of the ByteTrending article on DEBA.
    """

    up: Share = 0.55
    down: Share = 0.45
    weights: Mapping[str, NotNegative | None] | None = None  # of each signal; None: the calibration's, else equal
    noise: Noise = "shrinks"
    score: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.down > self.up:
            raise ValueError(f"up={self.up} and down={self.down}: thresholds out of order, 0 <= down <= up <= 1 is expected")
        self._weights = dict.fromkeys(SIGNALS, 1 / len(SIGNALS))
        self._levels: Mapping[str, float] = {}
        if self.calibration is not None:
            self._weights, self._levels = dict(self.calibration.weights), self.calibration.levels
        if self.weights is not None and any(weight is not None for weight in self.weights.values()):
            self._weights = checked_weights(self.weights)

    def decide(self) -> float:
        score = 1 - sum(weight * self._share(name) for name, weight in self._weights.items())
        self.score = score if math.isfinite(score) else None
        return self.grow if score > self.up else self.shrink if score < self.down else 1.0  # a score of nan is a hold

    def _share(self, name: str) -> float:
        """m / (m + ref), from 0 to 1; nan while one of the two is unknown."""
        value = self.stability.latest.get(name, math.nan)
        level = self._levels.get(name, self.stability.level(name))
        share = value / (value + level) if value + level else 0.5  # both 0: at its level
        return 1 - share if name == "variance" and self.noise == "grows" else share

    def signals(self) -> dict[str, float]:
        score = math.nan if self.score is None else self.score
        return self.stability.signals() | {"score": score, "decision": self.decision}
