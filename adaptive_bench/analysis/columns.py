"""The columns of a table: as the cells that a reader sees, and as numbers with a column each."""

import math
from typing import Any

import pandas as pd

from . import cells
from .arms import ArmSummary, Cost
from .compare import Comparison
from .intervals import Interval
from .tables import Table

# names of the numbers, the same for every table; a reader of the cells sees tokens where samples are tokens
NAMES = {"samples": "samples", "steps": "updates", "seconds": "seconds"}
TOTALS = {"samples": "samples_trained", "steps": "updates", "seconds": "training_seconds"}


def text_frame(table: Table) -> pd.DataFrame:
    """The cells of a table as a reader sees them, one row an arm."""
    return pd.DataFrame([_text(row, table=table) for row in table.rows])


def raw_rows(table: Table) -> list[dict[str, Any]]:
    """The numbers of a table, one dictionary an arm."""
    return [_raw(row, table=table) for row in table.rows]


def _shows_metric(table: Table) -> bool:
    return table.timed or not table.metric.startswith("seconds")


def _shows_published(table: Table) -> bool:
    return any(row.published for row in table.rows)


def _text(row: ArmSummary, *, table: Table) -> dict[str, str]:
    text = {"arm": row.label, "n": str(row.n), "diverged": str(row.diverged)}
    if any(other.missing for other in table.rows):
        text["missing seeds"] = ", ".join(str(seed) for seed in row.missing) or cells.NOTHING
    if _shows_metric(table):
        text |= _metric_text(row, table=table)
    text |= {heading: _total_text(row, table=table, cost=cost) for cost, heading in table.totals.items()}
    text["reached"] = f"{row.reached}/{row.n + row.diverged}"
    names = NAMES | {"samples": table.counted_in}
    text |= {f"{names[cost]} to target": _cost_text(row.costs[cost], seconds=cost == "seconds") for cost in table.costs}
    return text | {f"speed-up, {names[cost]}": _speedup_text(row, cost=cost) for cost in table.costs}


def _metric_text(row: ArmSummary, *, table: Table) -> dict[str, str]:
    name = "ratio to baseline" if table.logs else "difference"
    change = "baseline"
    if row.change:
        change = cells.interval(row.change.effect, decimals=3 if table.logs else table.decimals, sign=not table.logs)
    text = {table.header: cells.interval(row.value, decimals=table.decimals)}
    if _shows_published(table):
        text["published"] = cells.published(row.published)
    return text | {name: change, "p (Holm)": cells.p_value(row.holm)}


def _total_text(row: ArmSummary, *, table: Table, cost: str) -> str:
    if cost != "seconds":
        return cells.number(row.totals[cost].mean, decimals=0)
    return cells.interval(row.totals[cost], decimals=cells.column_decimals(other.totals[cost] for other in table.rows))


def _cost_text(cost: Cost, *, seconds: bool) -> str:
    value = cost.value.mean
    text = cells.number(value, decimals=cells.decimals(value) if seconds else 0)
    return text if cost.complete or math.isinf(value) else f"median {text}"


def _speedup_text(row: ArmSummary, *, cost: str) -> str:
    if cost not in row.speedups:
        return "baseline"
    return cells.speedup(row.speedups[cost].effect)


def _raw(row: ArmSummary, *, table: Table) -> dict[str, Any]:
    raw: dict[str, Any] = {"label": row.label, "n": row.n, "diverged": row.diverged, "missing_seeds": list(row.missing)}
    if _shows_metric(table):
        raw |= (
            _bounds(table.metric, row.value)
            | _comparison("ratio" if table.logs else "difference", row.change)
            | {"p_holm": row.holm}
        )
    if _shows_published(table):
        raw["published"] = [
            {name: getattr(claim, name) for name in ("value", "low", "high", "source", "note")}
            | {"inside": claim.inside(row.value)}
            for claim in row.published
        ]
    for cost in table.totals:
        total = row.totals[cost]
        raw |= _bounds(TOTALS[cost], total) if cost == "seconds" else {TOTALS[cost]: total.mean}
    raw |= {"reached": row.reached, "runs": row.n + row.diverged}
    for cost in table.costs:
        kind = "geometric mean" if row.costs[cost].complete else "median"
        raw |= _bounds(f"{NAMES[cost]}_to_target", row.costs[cost].value) | {f"{NAMES[cost]}_to_target_kind": kind}
    for cost in table.costs:
        raw |= _comparison(f"speedup_{NAMES[cost]}", row.speedups.get(cost))
    return raw | ({"detectable_speedup_seconds": row.detectable} if table.timed else {})


def _comparison(name: str, comparison: Comparison | None) -> dict[str, Any]:
    effect = comparison.effect if comparison else Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)
    return _bounds(name, effect) | {f"{name}_n": effect.n, f"{name}_method": comparison.method if comparison else ""}


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_mean": interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
