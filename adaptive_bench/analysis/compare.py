"""Two arms against each other: the ratio of their costs, the difference of their metric.

The same seed means the same split, initialisation and order of samples, so runs are compared within a seed. Pairs are formed if
more than half of all seeds of the two arms are in both; the other seeds then take no part. Below that, pairing would throw away
most of the runs, and Welch's interval over all of them is used. The choice depends on the seeds alone, never on the values.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from .intervals import CONFIDENCE, Interval, exp, standard_deviation, t_interval

BySeed: TypeAlias = Mapping[int, float] | pd.Series

PAIRED = "paired t"
WELCH = "Welch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An effect with its interval, `p` of the two-sided test of no effect, and the `sd` of the pairs (nan for Welch)."""

    effect: Interval
    method: str
    p: float
    sd: float


def difference(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE) -> Comparison:
    """The difference other - baseline by seed, with Student's t on the differences; Welch (1947) where seeds do not match."""
    left, right = pd.Series(other, dtype=float), pd.Series(baseline, dtype=float)
    shared = left.index.intersection(right.index)
    if 2 * len(shared) > len(left.index.union(right.index)):
        return _paired((left[shared] - right[shared]).to_numpy(), confidence=confidence)
    return _welch(left.to_numpy(), right.to_numpy(), confidence=confidence)


def ratio(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE) -> Comparison:
    """The speed-up baseline / other of two costs: ratio of geometric means, with `difference`'s interval on the logarithms.

    A cost of inf is a miss. If a run that takes part has missed, or costs nothing, there is no ratio: the effect is nan.
    """
    logs = difference(_log(other), _log(baseline), confidence=confidence)
    return replace(logs, effect=exp(logs.effect))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979): the k-th smallest of m values times m - k + 1, made monotone. nan is no test and stays nan."""
    adjusted = [math.nan] * len(p_values)
    tested = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    floor = 0.0
    for rank, (p, at) in enumerate(tested):
        floor = max(floor, min(1.0, p * (len(tested) - rank)))
        adjusted[at] = floor
    return adjusted


def _log(costs: BySeed) -> pd.Series:
    """Logarithms; nan for a miss (inf) and for a cost of 0, neither of which can stand in a ratio."""
    series = pd.Series(costs, dtype=float)
    if (series < 0).any():
        raise ValueError(f"a cost of {series.min()}: costs are 0 or more, and inf for a run that missed the target")
    usable = series.where((series > 0) & np.isfinite(series))
    return usable.map(math.log, na_action="ignore")


def _paired(differences: np.ndarray, *, confidence: float) -> Comparison:
    effect = t_interval(differences, confidence=confidence)
    sd = standard_deviation(differences) if math.isfinite(effect.low) else math.nan
    p = math.nan
    if sd > 0:
        p = float(2 * stats.t.sf(abs(effect.mean) * math.sqrt(effect.n) / sd, effect.n - 1))
    return Comparison(effect=effect, method=PAIRED, p=p, sd=sd)


def _welch(left: np.ndarray, right: np.ndarray, *, confidence: float) -> Comparison:
    n = min(len(left), len(right))
    mean = float(left.mean() - right.mean()) if n else math.nan
    low = high = p = math.nan
    if n > 1 and math.isfinite(mean):
        if standard_deviation(left) == standard_deviation(right) == 0:
            low = high = mean
        else:
            low, high, p = _welch_test(left, right, confidence=confidence)
    return Comparison(effect=Interval(mean=mean, low=low, high=high, n=n), method=WELCH, p=p, sd=math.nan)


def _welch_test(left: np.ndarray, right: np.ndarray, *, confidence: float) -> tuple[float, float, float]:
    with warnings.catch_warnings():
        # one arm may have equal values: that its variance is 0 is exact, not a loss of precision
        warnings.filterwarnings("ignore", message="Precision loss occurred", category=RuntimeWarning)
        test = stats.ttest_ind(left, right, equal_var=False)
    bounds = test.confidence_interval(confidence)
    return float(bounds.low), float(bounds.high), float(test.pvalue)
