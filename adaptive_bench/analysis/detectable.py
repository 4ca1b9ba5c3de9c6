"""The smallest effect that a comparison would have found."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from .compare import Comparison
from .intervals import CONFIDENCE, Interval

POWER = 0.8
ALPHA = 0.05
SMALLEST_DF = 2  # with two pairs the observed spread says next to nothing of the true one
QUANTILES = (np.arange(400) + 0.5) / 400


def detectable(comparison: Comparison, *, family: int) -> Interval:
    """The ratio exp(d) that the test of this comparison finds with a mean power of 80 %; no bounds and nan with two pairs.

    The test is the printed one: two-sided Student's t (paired or Welch's) at 5 %, in the first step of Holm over `family`
    tests, on logarithms. The observed standard error e is not the true one: df (e / true)^2 is chi-squared. So d = k e, where the
    power at k e, averaged over that distribution, is 0.8; a d that took e for the truth would have a power of 0.63 with three
    pairs and of 0.72 with ten. The interval holds the d of the true error at the ends of its own 95 % interval. The slack of the
    comparison is added.
    """
    if not comparison.df >= SMALLEST_DF or not comparison.error > 0:
        return Interval(mean=math.nan, low=math.nan, high=math.nan, n=comparison.effect.n)
    df = round(comparison.df, 2)  # so that equal designs are solved once
    ends = stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], df)
    shift = _shift(df, ALPHA / family)
    known = [shift * math.sqrt(df / end) for end in np.atleast_1d(ends)]
    mean, low, high = (
        math.exp(min(factor * comparison.error + comparison.slack, 700.0))  # exp overflows at 710
        for factor in (_factor(df, ALPHA / family), *known)
    )
    return Interval(mean=mean, low=low, high=high, n=comparison.effect.n)


@lru_cache(maxsize=4096)
def _shift(df: float, alpha: float) -> float:
    """The effect over its true error that the test finds with 80 % power; the other tail is left out, it adds less than 1e-4."""
    return _solve(lambda shift: _power(np.array([shift]), df, alpha))


@lru_cache(maxsize=4096)
def _factor(df: float, alpha: float) -> float:
    """The same for the observed error, whose square over the true one's is chi-squared over df."""
    spread = np.sqrt(stats.chi2.ppf(QUANTILES, df) / df)
    return _solve(lambda factor: _power(factor * spread, df, alpha))


def _power(shifts: np.ndarray, df: float, alpha: float) -> float:
    return float(np.mean(stats.nct.sf(stats.t.ppf(1 - alpha / 2, df), df, shifts)))


def _solve(power: Callable[[float], float]) -> float:
    upper = 4.0
    while power(upper) < POWER:
        upper *= 2
    return float(optimize.brentq(lambda shift: power(shift) - POWER, 0, upper, xtol=1e-4))
