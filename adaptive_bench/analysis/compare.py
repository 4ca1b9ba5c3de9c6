"""Two arms against each other: the ratio of their costs, the difference of their metric.

The same seed means the same split, initialisation and order of samples, so runs are compared within a seed. Pairs are formed if
at least half of the seeds of the arm that has fewer are in both, two at least; the other seeds then take no part. Below that,
pairing would throw away most of the runs, and Welch's interval over all of them is used. The choice depends on the seeds alone,
never on the values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from .intervals import CONFIDENCE, Interval, exp, standard_deviation

BySeed: TypeAlias = Mapping[int, float] | pd.Series

PAIRED = "paired t"
WELCH = "Welch"
RESTRICTED = "restricted means"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An effect with its interval, and `p` of the two-sided test that there is none.

    `estimate` and its standard `error`, on `df` degrees of freedom, are on the scale of the test: logarithms for a ratio. `slack`
    is how far the estimate may be off however many runs there are; it widens the interval on both sides and weakens the test.
    """

    effect: Interval
    method: str
    p: float
    estimate: float
    error: float
    df: float
    slack: float = 0.0

    def p_above(self, bound: float) -> float:
        """p of the one-sided test that the estimate is at most `bound`; nan where there is no test."""
        if not self.error > 0:
            return math.nan
        return float(stats.t.sf((self.estimate - self.slack - bound) / self.error, self.df))


def difference(
    baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE, resolution: float = 0.0, slack: float = 0.0
) -> Comparison:
    """The difference other - baseline by seed, with Student's t on the differences; Welch (1947) where seeds do not match.

    Values are multiples of `resolution` (0: of any), so each is off by up to half of it: standard deviations are not taken to be
    smaller than that of the rounding, resolution / sqrt(12). Without it, a few equal values would give an interval without width.
    """
    left, right = pd.Series(other, dtype=float), pd.Series(baseline, dtype=float)
    rounding = resolution / math.sqrt(12)
    if pairs(left, right):
        shared = left.index.intersection(right.index)
        changes = (left[shared] - right[shared]).to_numpy()
        return _tested(changes.mean(), [_variance(changes, rounding * math.sqrt(2))], [len(shared)], PAIRED, confidence, slack)
    if not (len(left) and len(right)):
        return _tested(math.nan, [math.nan], [0], WELCH, confidence, slack)
    both = (left.to_numpy(), right.to_numpy())
    variances = [_variance(values, rounding) for values in both]
    return _tested(both[0].mean() - both[1].mean(), variances, [len(left), len(right)], WELCH, confidence, slack)


def ratio(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE, slack: float = 0.0) -> Comparison:
    """The speed-up baseline / other of two costs: ratio of geometric means, with `difference`'s interval on the logarithms.

    A cost of inf is a miss. If a run that takes part has missed, or costs nothing, there is no ratio: the effect is nan.
    """
    return on_logs(difference(_log(other), _log(baseline), confidence=confidence, slack=slack))


def ratio_of_means(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE) -> Comparison:
    """The ratio baseline / other of arithmetic means, for costs that may be 0 or less in a run, such as pseudo-values.

    The interval is that of ln(mean) by the delta method: x_i / mean - 1 stands for the logarithm of a run's ratio to the mean.
    """
    left, right = pd.Series(other, dtype=float), pd.Series(baseline, dtype=float)
    if pairs(left, right):
        shared = left.index.intersection(right.index)
        left, right = left[shared], right[shared]
    means = [float(values.mean()) for values in (left, right)]
    if not all(mean > 0 for mean in means):
        return ratio(left * math.nan, right * math.nan)
    logs = [values / mean - 1 + math.log(mean) for values, mean in zip((left, right), means, strict=True)]
    found = on_logs(difference(*logs, confidence=confidence))
    return replace(found, method=f"{RESTRICTED}, {found.method}")


def on_logs(logs: Comparison) -> Comparison:
    """A comparison of logarithms as one of ratios."""
    return replace(logs, effect=exp(logs.effect))


def pairs(left: pd.Series, right: pd.Series) -> bool:
    """Whether two arms are compared within seeds; both are indexed by seed."""
    shared, fewer = len(left.index.intersection(right.index)), min(len(left), len(right))
    return 2 * shared >= max(fewer, 4) or shared == len(left) == len(right) == 1


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm (1979): the k-th smallest of m values times m - k + 1, made monotone.

    nan is a test that could not be made. It stays nan and still counts among the m, for it was declared.
    """
    adjusted = [math.nan] * len(p_values)
    tested = sorted((p, at) for at, p in enumerate(p_values) if not math.isnan(p))
    floor = 0.0
    for rank, (p, at) in enumerate(tested):
        floor = max(floor, min(1.0, p * (len(p_values) - rank)))
        adjusted[at] = floor
    return adjusted


def _log(costs: BySeed) -> pd.Series:
    """Logarithms; nan for a miss (inf) and for a cost of 0, neither of which can stand in a ratio."""
    series = pd.Series(costs, dtype=float)
    if (series < 0).any():
        raise ValueError(f"a cost of {series.min()}: costs are 0 or more, and inf for a run that missed the target")
    usable = series.where((series > 0) & np.isfinite(series))
    return usable.map(math.log, na_action="ignore")


def _variance(values: np.ndarray, rounding: float) -> float:
    return float(max(standard_deviation(values), rounding) ** 2) if len(values) > 1 else math.nan


def _tested(
    mean: float, variances: Sequence[float], counts: Sequence[int], method: str, confidence: float, slack: float
) -> Comparison:
    """The test of a mean (one variance) or of a difference of two, with the degrees of freedom of Welch and Satterthwaite."""
    parts = [variance / max(n, 1) for variance, n in zip(variances, counts, strict=True)]
    error = math.sqrt(sum(parts)) if math.isfinite(mean) else math.nan
    df, half, p = math.nan, math.nan, math.nan
    if error == 0:  # equal values: nothing varies, and only an effect of 0 can be judged
        half = slack
        p = 1.0 if abs(mean) <= slack else math.nan
        df = float(min(counts) - 1)
    elif error > 0:
        df = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, counts, strict=True))
        half = float(stats.t.ppf((1 + confidence) / 2, df)) * error + slack
        p = float(2 * stats.t.sf(max(0.0, abs(mean) - slack) / error, df))
    effect = Interval(mean=float(mean), low=mean - half, high=mean + half, n=min(counts))
    return Comparison(effect=effect, method=method, p=p, estimate=float(mean), error=error, df=df, slack=slack)
