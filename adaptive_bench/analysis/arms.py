"""A row of a table: one arm, by itself and against the baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .compare import Comparison, difference, ratio
from .detectable import detectable
from .intervals import Interval, log_t_interval, t_interval
from .published import Claim, about
from .read import Runs
from .targets import COSTS, costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an arm spent to reach the target: the geometric mean if all its runs did, else the median with inf for a miss."""

    value: Interval
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """An arm: `n` runs that are done, `diverged` ones, the seeds that other arms have and this one lacks.

    The baseline has no `change` of the metric and no `speedups`. `holm` is the p of the change, corrected for all arms of the
    table; `detectable` the smallest speed-up in seconds that could have been found. `totals` are what whole runs that are done
    spent, `costs` what it took to reach the target. `published` is what others have published for an arm like this.
    """

    label: str
    n: int
    diverged: int
    missing: tuple[int, ...]
    value: Interval
    change: Comparison | None
    holm: float
    totals: dict[str, Interval]
    reached: int
    costs: dict[str, Cost]
    speedups: dict[str, Comparison]
    detectable: float
    published: tuple[Claim, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Arm:
    """An arm's records, its values of the metric and its costs, both by seed; `values` and `totals` are of runs that are done."""

    records: pd.DataFrame
    values: pd.Series
    totals: pd.DataFrame
    spent: pd.DataFrame

    @classmethod
    def of(cls, runs: Runs, *, records: pd.DataFrame, metric: str, target: float) -> "Arm":
        done = records[records["status"] == "done"].set_index("seed")
        return cls(
            records=records,
            values=done[metric].astype(float),
            totals=done[list(COSTS)].astype(float),
            spent=costs(runs, records=records, target=target),
        )


def row(arm: Arm, *, baseline: Arm, seeds: set[int], rivals: int, logs: bool, claims: Sequence[Claim]) -> ArmSummary:
    """`seeds` are those of all arms, `rivals` the arms that are held against the baseline, `claims` those about any arm."""
    change, speedups, found = None, {}, math.nan
    if arm is not baseline:
        # the ratio of a cost is old / new, that of a metric is new / old
        change = ratio(arm.values, baseline.values) if logs else difference(baseline.values, arm.values)
        speedups = {cost: ratio(baseline.spent[cost], arm.spent[cost]) for cost in COSTS}
        found = detectable(speedups["seconds"].sd, pairs=speedups["seconds"].effect.n, comparisons=rivals)
    return ArmSummary(
        label=arm.records["label"].iloc[0],
        n=len(arm.values),
        diverged=int((arm.records["status"] == "diverged").sum()),
        missing=tuple(sorted(seeds - set(arm.records["seed"]))),
        value=log_t_interval(arm.values) if logs else t_interval(arm.values),
        change=change,
        holm=math.nan,  # needs the other rows
        totals={cost: log_t_interval(arm.totals[cost]) for cost in COSTS},
        reached=int(np.isfinite(arm.spent["samples"]).sum()),
        costs={cost: _cost(arm.spent[cost]) for cost in COSTS},
        speedups=speedups,
        detectable=found,
        published=about(claims, records=arm.records),
    )


def _cost(spent: pd.Series) -> Cost:
    complete = bool(np.isfinite(spent).all())
    if complete:
        return Cost(value=log_t_interval(spent), complete=True)
    median = float(np.median(spent))
    return Cost(value=Interval(mean=median, low=math.nan, high=math.nan, n=len(spent)), complete=False)
