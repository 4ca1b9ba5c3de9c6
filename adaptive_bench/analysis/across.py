"""Arms across workloads: performance profiles, ranks, and which arm is best on which kind of workload."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from . import metrics
from .read import Runs
from .tables import Table
from .targets import crossings

RESAMPLES = 1_000
PERCENTILES = (2.5, 97.5)
STEPS = 60  # points of a profile
LEAST = 1e-9  # of a cost: where untrained models meet the target, ratios stay finite
# numbers that a sample of these data sets consists of; of others the settings say it
DIMENSIONS = {"digits": 64, "mnist1d": 40, "cifar10": 3_072, "cifar100": 3_072, "tiny_imagenet": 12_288}


@dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """What several workloads say together of the `arms` that were trained on all of them.

    `profiles` (Dolan and More 2002): the share of workloads on which an arm's cost is at most `factors` times the least of all
    arms; `low` and `high` hold 95 % of the same shares after resampling seeds. The cost of an arm on a workload is the median
    over its runs of the `endpoint`'s cost to the target, inf for a miss. `ranks` has a row an arm, `best` a row a kind of
    workload. Controls take no part. `left_out` are arms that some workload lacks, `without_target` workloads that have no target.
    """

    endpoint: str
    arms: tuple[str, ...]
    workloads: tuple[str, ...]
    factors: np.ndarray = field(repr=False)
    profiles: np.ndarray = field(repr=False)
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    ranks: pd.DataFrame = field(repr=False)
    best: pd.DataFrame = field(repr=False)
    left_out: tuple[str, ...]
    without_target: tuple[str, ...]


def across(runs: Runs, tables: Sequence[Table]) -> Across | None:
    """None where there are no two arms on no two workloads with a target. Same runs, same result: the resampling is seeded."""
    usable = [table for table in tables if not math.isnan(table.target)]
    names = [[row.label for row in table.rows if row.started and not row.control_of] for table in usable]
    arms = [name for name in names[0] if all(name in others for others in names)] if names else []
    if len(usable) < 2 or len(arms) < 2:
        return None
    costs, values = zip(*(_outcomes(runs, table, arms=arms) for table in usable), strict=True)
    rng = np.random.default_rng(0)
    draws = [rng.integers(cost.shape[1], size=(RESAMPLES, cost.shape[1])) for cost in costs]
    # arms x workloads, and the same after each resampling; values are turned so that less is better
    cost, other_costs = _medians(costs, draws)
    value, other_values = _medians([-each for each in values], draws)
    ratios, other_ratios = cost / _least(cost), other_costs / _least(other_costs)
    factors = np.geomspace(1, max(2.0, float(ratios[np.isfinite(ratios)].max(initial=1.0)) * 1.05), STEPS)
    low, high = np.percentile(_profiles(other_ratios, factors), PERCENTILES, axis=0)
    return Across(
        endpoint=usable[0].endpoint,
        arms=tuple(arms),
        workloads=tuple(table.title for table in usable),
        factors=factors,
        profiles=_profiles(ratios, factors),
        low=low,
        high=high,
        ranks=_ranks(arms, cost=(cost, other_costs), value=(value, other_values)),
        best=_best(arms, usable, ratios=(ratios, other_ratios), value=(value, other_values)),
        left_out=tuple(sorted({name for each in names for name in each} - set(arms))),
        without_target=tuple(table.title for table in tables if math.isnan(table.target)),
    )


def _outcomes(runs: Runs, table: Table, *, arms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The cost to the target and the metric, arms x seeds: nan where there is no run, a miss costs inf and is worth -inf."""
    counted = table.records[table.records["status"] != "running"]
    seeds = {seed: at for at, seed in enumerate(sorted(set(counted["seed"])))}
    cost, value = np.full((2, len(arms), len(seeds)), math.nan)
    sign = 1 if metrics.more_is_better(table.records, metric=table.metric) else -1
    for at, arm in enumerate(arms):
        rows = [row for row in runs.arms[table.workload][arm] if row["status"] != "running"]
        for seed, found in crossings(runs, rows, target=table.target).items():
            cost[at, seeds[seed]] = max(getattr(found, table.endpoint), LEAST)
        for row in rows:
            value[at, seeds[row["seed"]]] = sign * row[table.metric] if row["status"] == "done" else -math.inf
    return cost, value


def _medians(outcomes: Sequence[np.ndarray], draws: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """arms x workloads, and resamples x arms x workloads: runs of a seed are drawn together, as they are paired."""
    plain = np.stack([_median(each) for each in outcomes], axis=-1)
    drawn = np.stack([_median(np.moveaxis(each[:, draw], 1, 0)) for each, draw in zip(outcomes, draws, strict=True)], axis=-1)
    return plain, drawn


def _median(values: np.ndarray) -> np.ndarray:
    """Over the last axis, without nan (where all are nan: inf) and with infinities, which numpy's would turn into nan."""
    ordered, count = np.sort(values, axis=-1), (~np.isnan(values)).sum(axis=-1, keepdims=True)
    lower, upper = (np.take_along_axis(ordered, np.maximum(at, 0), axis=-1) for at in ((count - 1) // 2, count // 2))
    with np.errstate(invalid="ignore"):
        middle = np.where(lower == upper, lower, (lower + upper) / 2)
    found: np.ndarray = np.where(count == 0, math.inf, middle)[..., 0]
    return found


def _least(costs: np.ndarray) -> np.ndarray:
    """Of all arms on each workload; 1 where none reached the target, so that every ratio is inf."""
    least = costs.min(axis=-2, keepdims=True)
    found: np.ndarray = np.where(np.isfinite(least) & (least > 0), least, 1.0)
    return found


def _profiles(ratios: np.ndarray, factors: np.ndarray) -> np.ndarray:
    # a rounding must not keep the best arm from its own 1
    shares: np.ndarray = (ratios[..., None] <= factors * (1 + 1e-12)).mean(axis=-2)
    return shares


def _rank(values: np.ndarray) -> np.ndarray:
    """Over the arms, 1 for the least; equal values share the mean of their ranks."""
    less = (values[..., None, :, :] < values[..., :, None, :]).sum(axis=-2)
    equal = (values[..., None, :, :] == values[..., :, None, :]).sum(axis=-2)
    ranks: np.ndarray = less + (equal + 1) / 2
    return ranks


def _ranks(arms: Sequence[str], **outcomes: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """By arm: the mean rank over workloads with its bounds, and on how many workloads it is first, alone or with others."""
    columns: dict[str, Any] = {"arm": arms}
    for name, (plain, drawn) in outcomes.items():
        columns[f"{name}_rank"] = _rank(plain).mean(axis=-1)
        columns[f"{name}_low"], columns[f"{name}_high"] = np.percentile(_rank(drawn).mean(axis=-1), PERCENTILES, axis=0)
        columns[f"{name}_first"] = (plain == plain.min(axis=0)).sum(axis=-1)
    return pd.DataFrame(columns).sort_values("cost_rank", kind="stable", ignore_index=True)


def _best(arms: Sequence[str], tables: Sequence[Table], **outcomes: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    """By data set, dimension, model and parameters: the fastest arm and the one with the best metric.

    The fastest has the least geometric mean of its cost over the least of all arms, the best the least mean rank; equal ones are
    all named. Beside each stands in which share of the resamples it was so, alone or with others.
    """
    (ratios, other_ratios), (value, other_values) = outcomes["ratios"], outcomes["value"]
    scores = {"fastest": (np.log(ratios), np.log(other_ratios)), "best": (_rank(value), _rank(other_values))}
    rows = []
    for kind, name, members in _kinds(tables):
        row: dict[str, Any] = {"kind": kind, "name": name, "workloads": len(members)}
        for score, (plain, drawn) in scores.items():
            mean, others = plain[:, members].mean(axis=-1), drawn[..., members].mean(axis=-1)
            first = np.flatnonzero(mean == mean.min())
            told = math.isfinite(mean.min()) and len(first) < len(arms)
            row[score] = ", ".join(str(arms[int(at)]) for at in first) if told else ""
            least = others[:, first].min(axis=-1) == others.min(axis=-1)
            row[f"{score}_share"] = float(least.mean()) if told else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _kinds(tables: Sequence[Table]) -> list[tuple[str, str, list[int]]]:
    """What workloads have in common, and the places of those that have it."""
    found: dict[tuple[str, Any], list[int]] = {}
    for at, table in enumerate(tables):
        record = table.records.iloc[0]
        settings = record["settings"]
        scaled = 3 * (settings.get("dataset.side") or 0) ** 2
        own = scaled or settings.get("dataset.dimension") or DIMENSIONS.get(record["dataset"])
        size = record.get("parameters", math.nan)
        properties = {
            "data set": record["dataset"],
            "dimension": None if own is None else int(own),
            "model": record["model"],
            "parameters": None if pd.isna(size) else int(size),
        }
        for kind, name in properties.items():
            if name is not None:
                found.setdefault((kind, name), []).append(at)
    order = ["data set", "dimension", "model", "parameters"]
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1]))
    return [(kind, f"{name:,}" if isinstance(name, int) else str(name), found[kind, name]) for kind, name in keys]
