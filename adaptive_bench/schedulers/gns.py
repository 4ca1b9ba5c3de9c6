"""The gradient noise scale as batch size."""

import math
import warnings
from dataclasses import dataclass, field
from typing import Literal

from adaptive_bench.schedulers.averages import NOISE, Average, NoiseScale
from adaptive_bench.schedulers.base import FeedbackScheduler, Noise, mirrored, refuse_monotone
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Factor, NotNegative, Positive


@dataclass(kw_only=True)
class GradientNoiseScale(FeedbackScheduler):
    """B = kappa * B_simple, B_simple = tr(Sigma) / |G|^2: the batch at which noise and gradient weigh the same.

    `estimator=pair` averages unbiased estimates of tr(Sigma) and |G|^2, each with a half-life in samples (None: an epoch), and
    divides then. An averaged |G|^2 that is not above 0 asks for the maximum. `max_relative_error` holds the size while the
    relative standard error of B_simple is above it.

    `estimator=sheet` is strategy 6 of the lab sheet: R = (1/k) sum_j |h_j - g|^2 / |g|^2 over k equal micro-batches. R cannot
    exceed k - 1 in expectation, however much noise there is, and depends on the batch it is taken on; B_simple =
    B R / (k - 1 - R) is what follows from its average, which starts anew at every change of the size. It needs an estimator
    that gives the ratio: `estimator=sheet`, or microbatch.

    `estimator=raw` is the sheet to the letter, B = kappa R: it cannot ask for more than kappa (k - 1) in expectation, and R is
    another number at another batch.

    `noise=grows` is the sheet's "increase batch size when gradient noise is high". `noise=shrinks`, which strategy 4 of the sheet
    and DEBA's article hold right, is the mirror image about the first size: B = initial^2 / (kappa B_simple).

    `monotone` never shrinks. Growth by at most 2 once an epoch is our default; McCandlish et al. describe no online controller.

    Source: McCandlish, Kaplan, Amodei 2018, arXiv 1812.06162; lab sheet, strategy 6.
    """

    not_for_blocks = "the noise scale counts samples to average, not positions of a row"

    minimum: Count = 2  # one sample has no variance
    cooldown: NotNegative = 1
    growth_cap: Factor | None = 2
    kappa: Positive = 1
    noise: Noise = "grows"
    estimator: Literal["pair", "sheet", "raw"] = "pair"
    half_life: NotNegative | None = None  # samples; None: an epoch
    max_relative_error: Positive | None = None
    monotone: bool = False
    at_size: int = field(default=0, init=False)  # that the averaged ratio belongs to
    microbatches: float = field(default=math.nan, init=False)
    estimate: NoiseScale = field(init=False)
    ratio: Average = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_relative_error is not None and self.estimator != "pair":
            raise ValueError(f"max_relative_error={self.max_relative_error}: the sheet's ratio has none; take estimator=pair")
        refuse_monotone(self.noise, monotone=self.monotone)
        if self.estimator != "pair":
            outcome = "it is converted to B_simple = B R / (k - 1 - R)"
            if self.estimator == "raw":
                outcome = f"as a batch size it stays below kappa (k - 1), here {self.kappa:g} (k - 1)"
            warnings.warn(
                f"scheduler.estimator={self.estimator}: the ratio of k micro-batches cannot exceed k - 1, whatever the noise; "
                + outcome,
                stacklevel=3,
            )
        self.estimate = NoiseScale(half_life=self.half_life, max_relative_error=self.max_relative_error)
        self.ratio = Average(half_life=self.half_life)

    @property
    def needs(self) -> frozenset[Stat]:
        return NOISE if self.estimator == "pair" else frozenset({Stat.MICROBATCH_RATIO, Stat.MICROBATCHES})

    def only_grows(self) -> bool:
        return self.monotone

    def observe(self, seen: Observation) -> None:
        if not seen.stats:
            return
        if self.estimator == "pair":
            self.estimate.add(seen)
            known = self.estimate.trusted
        else:
            self._add_ratio(seen)
            known = not math.isnan(self.ratio.value)
        measured = self.ratio.value if self.estimator == "raw" else self.noise_scale
        if known and (proposed := self.kappa * measured) > 0:
            proposed = proposed if self.noise == "grows" else mirrored(proposed, self.initial)
            self.size = max(proposed, float(seen.granted)) if self.monotone else proposed

    def _add_ratio(self, seen: Observation) -> None:
        if not (seen.uncut and math.isfinite(seen.stats[Stat.MICROBATCH_RATIO])):
            return
        if (seen.granted, seen.stats[Stat.MICROBATCHES]) != (self.at_size, self.microbatches):
            self.at_size, self.microbatches, self.ratio = (
                seen.granted,
                seen.stats[Stat.MICROBATCHES],
                Average(half_life=self.half_life),
            )
        self.ratio.add(seen.stats[Stat.MICROBATCH_RATIO], seen)

    @property
    def noise_scale(self) -> float:
        """B_simple as known so far, in samples."""
        if self.estimator == "pair":
            return self.estimate.value
        return noise_scale_of_sheet(self.ratio.value, batch=self.at_size, microbatches=self.microbatches)

    def signals(self) -> dict[str, float]:
        if self.estimator == "pair":
            return self.estimate.signals()
        return {"noise_scale": self.noise_scale, "sheet_ratio": self.ratio.value, "sheet_ratio_limit": self.microbatches - 1}


def noise_scale_of_sheet(ratio: float, *, batch: float, microbatches: float) -> float:
    """B_simple = B R / (k - 1 - R), from R = (1/k) sum_j |h_j - g|^2 / |g|^2 over k equal micro-batches of a batch of B.

    E sum_j |h_j - g|^2 / k = (k - 1) tr(Sigma) / B and E |g|^2 = |G|^2 + tr(Sigma) / B; R = k - 1 means |G| = 0.
    """
    room = microbatches - 1 - ratio
    return batch * ratio / room if room > 0 or math.isnan(room) else math.inf
