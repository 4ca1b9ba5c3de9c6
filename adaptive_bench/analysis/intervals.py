"""The confidence interval of one mean. With few values only Student's t has the coverage that it promises."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import special, stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its bounds; nan where `n` values do not allow one."""

    mean: float
    low: float
    high: float
    n: int


NO_INTERVAL = Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)


@lru_cache(maxsize=4096)
def quantile(df: float, confidence: float) -> float:
    """Of Student's t: so many standard errors lie on each side of a mean."""
    return float(stats.t.ppf((1 + confidence) / 2, df))


def t_interval(values: Iterable[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The mean -+ t(n - 1, (1 + confidence) / 2) * s / sqrt(n), Student (1908). Without two finite values: no bounds."""
    data = np.fromiter(values, dtype=float)
    n = len(data)
    if n < 2 or not np.isfinite(data).all():
        mean = float(data.mean()) if n else math.nan
        return Interval(mean=mean, low=math.nan, high=math.nan, n=n)
    mean = float(data.mean())
    half = quantile(n - 1, confidence) * standard_deviation(data) / math.sqrt(n)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def percent_interval(values: Iterable[float], *, resolution: float = 0.0, confidence: float = CONFIDENCE) -> Interval:
    """The mean of percentages, with the bounds of a t interval of its logit ln(m / (100 - m)), which stay between 0 and 100.

    The standard error of the logit is that of the mean times 100 / (m (100 - m)), by the delta method. Values are multiples of
    `resolution`: their standard deviation is not taken to be smaller than that of the rounding, and the mean not to be closer to
    0 or 100 than half a step.
    """
    plain = t_interval(data := np.fromiter(values, dtype=float), confidence=confidence)
    if math.isnan(plain.low) or not 0 <= plain.mean <= 100:
        return plain
    spread = max(standard_deviation(data), resolution / math.sqrt(12))
    if spread == 0:
        return plain
    nearest = max(resolution / 2, 1e-9)
    centre = min(max(plain.mean, nearest), 100 - nearest)
    half = quantile(plain.n - 1, confidence) * spread / math.sqrt(plain.n) * 100 / (centre * (100 - centre))
    low, high = (float(100 * special.expit(special.logit(centre / 100) + shift)) for shift in (-half, half))
    return replace(plain, low=low if plain.mean > 0 else 0.0, high=high if plain.mean < 100 else 100.0)


def log_t_interval(values: Iterable[float], *, confidence: float = CONFIDENCE) -> Interval:
    """The geometric mean and its interval: Student's t on logarithms, transformed back. A value of 0 gives no interval."""
    data = np.fromiter(values, dtype=float)
    if (data < 0).any():
        raise ValueError(f"a logarithm of {data.min()}: values above 0 are expected; use t_interval for values of either sign")
    if (data == 0).any():
        return Interval(mean=0.0, low=math.nan, high=math.nan, n=len(data))
    if len(data) > 0 and np.isfinite(data).all() and np.ptp(data) == 0:
        value = float(data[0])  # to logarithms and back would turn 1,000 into 999.9999999999998
        bound = value if len(data) > 1 else math.nan
        return Interval(mean=value, low=bound, high=bound, n=len(data))
    return exp(t_interval(np.log(data), confidence=confidence))


def exp(logs: Interval) -> Interval:
    """An interval of logarithms, transformed back."""
    with np.errstate(over="ignore"):  # two values far apart have bounds beyond any float: inf is right
        mean, low, high = (float(np.exp(part)) for part in (logs.mean, logs.low, logs.high))
    return Interval(mean=mean, low=low, high=high, n=logs.n)


def standard_deviation(values: np.ndarray) -> float:
    """The standard deviation s (n - 1 in the denominator); exactly 0 for equal values, where rounding would leave dust."""
    return float(values.std(ddof=1)) if np.ptp(values) > 0 else 0.0
