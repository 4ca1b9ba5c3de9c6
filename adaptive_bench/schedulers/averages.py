"""Averages over measured steps, and the gradient noise scale as the ratio of two averages."""

import math
from dataclasses import dataclass, field

from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import NotNegative, Positive


@dataclass(kw_only=True)
class Average(Stateful):
    """m = sum_t w_t x_t / sum_t w_t, where w_t halves with every half-life of samples: debiased, so it starts at the first value.

    A value weighs 1 - 2^(-samples since the one before / half-life). Values that are not finite are left out,
    and so are those of steps that were cut short.
    """

    half_life: NotNegative | None = None  # samples; None: an epoch; 0: only the last value counts
    weight: float = field(default=0.0, init=False)  # sum w
    total: float = field(default=0.0, init=False)  # sum w x
    squares: float = field(default=0.0, init=False)  # sum w x^2
    weight_squares: float = field(default=0.0, init=False)  # sum w^2
    at: int = field(default=0, init=False)  # samples, of the last value

    def add(self, value: float, seen: Observation) -> None:
        """Add the value of the step `seen`."""
        if not (seen.uncut and math.isfinite(value)):
            return
        half_life = seen.position.epoch_samples if self.half_life is None else self.half_life
        elapsed = seen.position.samples - self.at if self.weight else seen.shape.samples
        keep = 0.5 ** (elapsed / half_life) if half_life else 0.0
        new = 1 - keep
        self.weight = keep * self.weight + new
        self.total = keep * self.total + new * value
        self.squares = keep * self.squares + new * value * value
        self.weight_squares = keep * keep * self.weight_squares + new * new
        self.at = seen.position.samples

    @property
    def value(self) -> float:
        """The average; nan before the first value."""
        return self.total / self.weight if self.weight else math.nan

    @property
    def count(self) -> float:
        """How many equally weighted values the average is worth: (sum w)^2 / sum w^2."""
        return self.weight**2 / self.weight_squares if self.weight else 0.0

    @property
    def error(self) -> float:
        """Standard error of the average, from the scatter of the values; nan before the second one."""
        if self.count < 1.0001:  # one value, up to rounding
            return math.nan
        variance = max(0.0, self.squares / self.weight - self.value**2)
        return math.sqrt(variance / (self.count - 1))


@dataclass(kw_only=True)
class NoiseScale(Stateful):
    """B_simple = tr(Sigma) / |G|^2 (McCandlish et al. 2018, arXiv 1812.06162, eq. 2.9) as a ratio of averages.

    Both moments are averaged before they are divided: the ratio of single estimates is biased, and a single estimate of |G|^2 is
    often negative.
    """

    half_life: NotNegative | None = None  # as in `Average`
    max_relative_error: Positive | None = None  # of a value that is trusted; None: any
    sq_norm: Average = field(init=False)  # of |G|^2
    variance: Average = field(init=False)  # of tr(Sigma)
    products: Average = field(init=False)  # of |G|^2 tr(Sigma), for the error of the ratio

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sq_norm, self.variance, self.products = (Average(half_life=self.half_life) for _ in range(3))

    def add(self, seen: Observation) -> None:
        """Add the moments of a measured step. Steps without moments change nothing."""
        if not seen.stats.keys() >= NOISE:
            return
        sq_norm, variance = seen.stats[Stat.GRAD_SQ_NORM], seen.stats[Stat.GRAD_VARIANCE]
        if not (math.isfinite(sq_norm) and math.isfinite(variance)):
            return
        self.sq_norm.add(sq_norm, seen)
        self.variance.add(variance, seen)
        self.products.add(sq_norm * variance, seen)

    @property
    def value(self) -> float:
        """B_simple in samples; infinite where the averaged |G|^2 is not above 0, nan before the first measured step."""
        sq_norm, variance = self.sq_norm.value, self.variance.value
        if math.isnan(sq_norm):
            return math.nan
        return max(variance, 0.0) / sq_norm if sq_norm > 0 else math.inf

    @property
    def relative_error(self) -> float:
        """Standard error of the ratio over the ratio, linearised; infinite where it is unknown."""
        ratio, count = self.value, self.sq_norm.count
        if not 0 < ratio < math.inf or count < 1.0001:
            return math.inf
        # the residuals tr(Sigma)_t - ratio |G|^2_t have the mean 0
        spread = self.variance.squares - 2 * ratio * self.products.total + ratio**2 * self.sq_norm.squares
        return math.sqrt(max(0.0, spread / self.sq_norm.weight) / (count - 1)) / self.variance.value

    @property
    def trusted(self) -> bool:
        """Whether there is a value, and its relative standard error is at most `max_relative_error`."""
        return not math.isnan(self.value) and (self.max_relative_error is None or self.relative_error <= self.max_relative_error)

    def signals(self) -> dict[str, float]:
        moments = {"grad_sq_norm": self.sq_norm, "grad_variance": self.variance}
        shown = {f"{name}_average": average.value for name, average in moments.items()}
        shown |= {f"{name}_error": average.error for name, average in moments.items()}
        return shown | {"noise_scale": self.value, "noise_scale_relative_error": self.relative_error}


NOISE = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})
