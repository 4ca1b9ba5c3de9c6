"""Two arms against each other: the ratio of their costs, the difference of their metric.

The same seed means the same split, initialisation and order of samples, so runs are compared within a seed. Pairs are formed if
at least half of the seeds of the arm that has fewer are in both, two at least; the other seeds then take no part. Below that,
pairing would throw away most of the runs, and Welch's interval over all of them is used. The choice depends on the seeds alone,
never on the values.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import special

from .intervals import CONFIDENCE, NO_INTERVAL, Interval, exp, quantile, standard_deviation

BySeed: TypeAlias = Mapping[int, float] | pd.Series

PAIRED = "paired t"
WELCH = "Welch"
RESTRICTED = "restricted means"
CONTRAST = "contrast"


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

    @property
    def restricted(self) -> bool:
        """Whether it is of means up to the budget."""
        return self.method.startswith(RESTRICTED)

    def p_above(self, bound: float) -> float:
        """p of the one-sided test that the estimate is at most `bound`; nan where there is no test."""
        if not self.error > 0:
            return math.nan
        return _upper_tail((self.estimate - self.slack - bound) / self.error, self.df)


NONE = Comparison(effect=NO_INTERVAL, method="", p=math.nan, estimate=math.nan, error=math.nan, df=math.nan)


def difference(
    baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE, resolution: float = 0.0, slack: float = 0.0
) -> Comparison:
    """The difference other - baseline by seed, with Student's t on the differences; Welch (1947) where seeds do not match.

    Values are multiples of `resolution` (0: of any), so each is off by up to half of it: standard deviations are not taken to be
    smaller than that of the rounding, resolution / sqrt(12). Without it, a few equal values would give an interval without width.
    """
    left, right = _values(other), _values(baseline)
    rounding = resolution / math.sqrt(12)
    if shared := pairs(left, right):
        changes = np.array([left[seed] - right[seed] for seed in shared], dtype=float)
        variance = _variance(changes, rounding * math.sqrt(2))
        return _tested(changes.mean(), [variance / len(shared)], [len(shared) - 1], PAIRED, confidence, slack)
    if not (left and right):
        return _tested(math.nan, [math.nan], [-1], WELCH, confidence, slack)
    both = [np.array([*values.values()], dtype=float) for values in (left, right)]
    parts = [_variance(values, rounding) / len(values) for values in both]
    return _tested(both[0].mean() - both[1].mean(), parts, [len(values) - 1 for values in both], WELCH, confidence, slack)


def contrast(one: Comparison, other: Comparison) -> Comparison:
    """How much an effect exceeds the same effect in other runs, on the scale of the tests: log(ratio / ratio) for two ratios.

    The runs of both are independent, so the squares of the errors add up; the degrees of freedom are those of Welch.
    """
    parts, dfs = [one.error**2, other.error**2], [one.df, other.df]
    return _tested(one.estimate - other.estimate, parts, dfs, CONTRAST, CONFIDENCE, one.slack + other.slack)


def ratio(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE, slack: float = 0.0) -> Comparison:
    """The speed-up baseline / other of two costs: ratio of geometric means, with `difference`'s interval on the logarithms.

    A cost of inf is a miss. If a run that takes part has missed, or costs nothing, there is no ratio: the effect is nan.
    """
    return on_logs(difference(_log(other), _log(baseline), confidence=confidence, slack=slack))


def ratio_of_means(baseline: BySeed, other: BySeed, *, confidence: float = CONFIDENCE) -> Comparison:
    """The ratio baseline / other of arithmetic means, for costs that may be 0 or less in a run, such as pseudo-values.

    The interval is that of ln(mean) by the delta method: x_i / mean - 1 stands for the logarithm of a run's ratio to the mean.
    """
    both = [_values(other), _values(baseline)]
    if shared := pairs(*both):
        both = [{seed: values[seed] for seed in shared} for values in both]
    means = [sum(values.values()) / max(len(values), 1) for values in both]
    if not all(mean > 0 for mean in means):
        return NONE
    logs = [
        {seed: value / mean - 1 + math.log(mean) for seed, value in values.items()}
        for values, mean in zip(both, means, strict=True)
    ]
    found = on_logs(difference(*logs, confidence=confidence))
    return replace(found, method=f"{RESTRICTED}, {found.method}")


def on_logs(logs: Comparison) -> Comparison:
    """A comparison of logarithms as one of ratios."""
    return replace(logs, effect=exp(logs.effect))


def pairs(left: Collection[int], right: Collection[int]) -> list[int]:
    """The seeds within which two arms are compared; none if too few are shared."""
    shared = [seed for seed in left if seed in right]
    enough = 2 * len(shared) >= max(min(len(left), len(right)), 4) or len(shared) == len(left) == len(right) == 1
    return shared if enough else []


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


def _values(by_seed: BySeed) -> dict[int, float]:
    """A few values, for which pandas would take a hundred times as long."""
    return {int(seed): float(value) for seed, value in by_seed.items()}  # type: ignore[call-overload]


def _log(costs: BySeed) -> dict[int, float]:
    """Logarithms; nan for a miss (inf) and for a cost of 0, neither of which can stand in a ratio."""
    found = _values(costs)
    if any(cost < 0 for cost in found.values()):
        raise ValueError(f"a cost of {min(found.values())}: costs are 0 or more, and inf for a run that missed the target")
    return {seed: math.log(cost) if 0 < cost < math.inf else math.nan for seed, cost in found.items()}


def _upper_tail(t: float, df: float) -> float:
    """P(T > t) of Student's t; `scipy.stats.t.sf` is this function behind checks that take a hundred times as long."""
    return float(special.stdtr(df, -t))


def _variance(values: np.ndarray, rounding: float) -> float:
    return float(max(standard_deviation(values), rounding) ** 2) if len(values) > 1 else math.nan


def _tested(
    mean: float, parts: Sequence[float], dfs: Sequence[float], method: str, confidence: float, slack: float
) -> Comparison:
    """The test of an estimate whose squared error is the sum of `parts`, each with its degrees of freedom (Satterthwaite)."""
    error = math.sqrt(sum(parts)) if math.isfinite(mean) else math.nan
    df, half, p = math.nan, math.nan, math.nan
    if error == 0:  # equal values: nothing varies, and only an effect of 0 can be judged
        half = slack
        p = 1.0 if abs(mean) <= slack else math.nan
        df = float(min(dfs))
    elif error > 0:
        df = sum(parts) ** 2 / sum(part**2 / freedom for part, freedom in zip(parts, dfs, strict=True))
        half = quantile(df, confidence) * error + slack
        p = 2 * _upper_tail(max(0.0, abs(mean) - slack) / error, df)
    runs = 0 if math.isnan(min(dfs)) else int(min(dfs)) + 1
    effect = Interval(mean=float(mean), low=mean - half, high=mean + half, n=runs)
    return Comparison(effect=effect, method=method, p=p, estimate=float(mean), error=error, df=df, slack=slack)
