"""Costs to reach a target where some runs missed it: their true cost is only known to be larger than what they spent."""

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from scipy import stats

BySeed: TypeAlias = Mapping[int, float]


def restricted_mean(spent: BySeed, followed: BySeed, *, horizon: float) -> float:
    """The mean of min(cost, horizon): the area under the curve of Kaplan and Meier (1958) up to `horizon` (Irwin 1949).

    `spent` is inf for a run that missed; `followed` is what that run had spent at its end (inf: it can never reach it).
    """
    if _all_followed(spent, followed, horizon=horizon):
        return sum(min(cost, horizon) for cost in spent.values()) / len(spent)
    found = stats.ecdf(_censored(spent, followed, horizon=horizon)).sf
    edges = np.append(found.quantiles[found.quantiles < horizon], horizon)
    heights = np.concatenate([[1.0], found.probabilities[found.quantiles < horizon]])
    return float((np.diff(edges, prepend=0.0) * heights).sum())


def pseudo_values(spent: BySeed, followed: BySeed, *, horizon: float) -> dict[int, float]:
    """n R - (n - 1) R_(-i) for each run i, where R is the restricted mean: what the run adds to it (Andersen et al. 2003).

    Their mean and spread are those of R, so that runs with a miss can be paired by seed. Where nothing was censored before the
    horizon, they are min(cost, horizon).
    """
    if _all_followed(spent, followed, horizon=horizon):  # the same in less time
        return {seed: min(cost, horizon) for seed, cost in spent.items()}
    n, whole = len(spent), restricted_mean(spent, followed, horizon=horizon)
    if n == 1:
        return dict.fromkeys(spent, whole)
    rest = {out: {seed: cost for seed, cost in spent.items() if seed != out} for out in spent}
    return {out: n * whole - (n - 1) * restricted_mean(others, followed, horizon=horizon) for out, others in rest.items()}


def log_rank(spent: BySeed, followed: BySeed, others: BySeed, others_followed: BySeed) -> float:
    """p of the log-rank test (Mantel 1966) that two arms reach the target at the same rate; nan where no run reached it."""
    if not (spent and others) or all(math.isinf(cost) for cost in (*spent.values(), *others.values())):
        return math.nan
    horizon = max(cost for each in (spent, followed, others, others_followed) for cost in each.values() if math.isfinite(cost))
    x, y = (_censored(*pair, horizon=horizon) for pair in ((spent, followed), (others, others_followed)))
    return float(stats.logrank(x, y).pvalue)


def _all_followed(spent: BySeed, followed: BySeed, *, horizon: float) -> bool:
    """Whether every run that missed was followed up to the horizon."""
    return all(math.isfinite(cost) or followed[seed] >= horizon for seed, cost in spent.items())


def _censored(spent: BySeed, followed: BySeed, *, horizon: float) -> stats.CensoredData:
    reached = [cost for cost in spent.values() if cost <= horizon]
    left = [min(horizon, horizon if math.isfinite(cost) else followed[seed]) for seed, cost in spent.items() if cost > horizon]
    return stats.CensoredData(uncensored=reached, right=left)
