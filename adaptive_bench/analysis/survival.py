"""Costs to reach a target where some runs missed it: their true cost is only known to be larger than what they spent."""

import math

import numpy as np
import pandas as pd
from scipy import stats


def restricted_mean(spent: pd.Series, followed: pd.Series, *, horizon: float) -> float:
    """The mean of min(cost, horizon): the area under the curve of Kaplan and Meier (1958) up to `horizon` (Irwin 1949).

    `spent` is inf for a run that missed; `followed` is what that run had spent at its end (inf: it can never reach it).
    """
    sample = _censored(spent, followed, horizon=horizon)
    found = stats.ecdf(sample).sf
    edges = np.append(found.quantiles[found.quantiles < horizon], horizon)
    heights = np.concatenate([[1.0], found.probabilities[found.quantiles < horizon]])
    return float((np.diff(edges, prepend=0.0) * heights).sum())


def pseudo_values(spent: pd.Series, followed: pd.Series, *, horizon: float) -> pd.Series:
    """n R - (n - 1) R_(-i) for each run i, where R is the restricted mean: what the run adds to it (Andersen et al. 2003).

    Their mean and spread are those of R, so that runs with a miss can be paired by seed. Where nothing was censored before the
    horizon, they are min(cost, horizon).
    """
    n = len(spent)
    whole = restricted_mean(spent, followed, horizon=horizon)
    if n == 1:
        return pd.Series([whole], index=spent.index)
    keep = ~np.eye(n, dtype=bool)
    rest = [restricted_mean(spent[others], followed[others], horizon=horizon) for others in keep]
    return pd.Series(n * whole - (n - 1) * np.array(rest), index=spent.index)


def log_rank(spent: pd.Series, followed: pd.Series, others: pd.Series, others_followed: pd.Series) -> float:
    """p of the log-rank test (Mantel 1966) that two arms reach the target at the same rate; nan where no run reached it."""
    reached = pd.concat([spent, others])
    if not np.isfinite(reached).any() or min(len(spent), len(others)) == 0:
        return math.nan
    every = pd.concat([reached, followed, others_followed])
    horizon = float(every[np.isfinite(every)].max())
    x, y = (_censored(*pair, horizon=horizon) for pair in ((spent, followed), (others, others_followed)))
    return float(stats.logrank(x, y).pvalue)


def _censored(spent: pd.Series, followed: pd.Series, *, horizon: float) -> stats.CensoredData:
    reached = np.isfinite(spent.to_numpy()) & (spent.to_numpy() <= horizon)
    left = np.where(np.isfinite(spent), horizon, np.minimum(followed, horizon))
    return stats.CensoredData(uncensored=spent.to_numpy()[reached], right=left[~reached])
