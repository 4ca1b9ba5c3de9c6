"""The columns of a table: the cells that a reader sees, and the numbers in full."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import cells
from .arms import ArmSummary
from .compare import Comparison
from .intervals import Interval
from .published import Claim, Replication, held
from .tables import Table

# names of the numbers, the same for every table; a reader of the cells sees tokens where samples are tokens
NAMES = {"samples": "samples", "steps": "updates", "seconds": "seconds"}
TOTALS = {"samples": "samples_trained", "steps": "updates", "seconds": "training_seconds"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that shows an arm as `text` under a `heading`, and gives its `raw` numbers by name.

    Without a heading it is among the numbers only.
    """

    heading: str = ""
    text: Callable[[ArmSummary], str] = lambda row: ""
    raw: Callable[[ArmSummary], dict[str, Any]] = lambda row: {}


def text_frame(table: Table) -> pd.DataFrame:
    """The cells of a table as a reader sees them, one row an arm."""
    shown = [column for column in columns(table) if column.heading]
    return pd.DataFrame([{column.heading: column.text(row) for column in shown} for row in table.rows])


def raw_rows(table: Table) -> list[dict[str, Any]]:
    """The numbers of a table, one dictionary an arm."""
    found = columns(table)
    return [{name: value for column in found for name, value in column.raw(row).items()} for row in table.rows]


def columns(table: Table) -> list[Column]:
    """All columns of a table, from left to right."""
    names = NAMES | {"samples": table.counted_in}
    return [
        Column("arm", lambda row: row.label, lambda row: {"label": row.label}),
        Column("n", lambda row: str(row.n), lambda row: {"n": row.n}),
        Column("diverged", lambda row: str(row.diverged), lambda row: {"diverged": row.diverged}),
        _missing(table),
        *_metric(table),
        *_padding(table),
        *(_total(table, cost=cost, heading=heading) for cost, heading in table.totals.items()),
        Column(
            "reached",
            lambda row: f"{row.reached}/{row.n + row.diverged}",
            lambda row: {"reached": row.reached, "runs": row.n + row.diverged},
        ),
        *(_cost(cost, heading=f"{names[cost]} to target") for cost in table.costs),
        *(_speedup(cost, heading=f"speed-up, {names[cost]}") for cost in table.costs),
        *([Column(raw=lambda row: {"detectable_speedup_seconds": row.detectable})] if table.timed else []),
    ]


def _missing(table: Table) -> Column:
    """The seeds that an arm lacks; shown where one of them lacks any."""
    return Column(
        "missing seeds" if any(row.missing for row in table.rows) else "",
        lambda row: ", ".join(str(seed) for seed in row.missing) or cells.NOTHING,
        lambda row: {"missing_seeds": list(row.missing)},
    )


def _metric(table: Table) -> list[Column]:
    """The metric, what others have published of it, and its change; nothing if it is seconds that are not comparable."""
    has_claims = any(row.published for row in table.rows)

    def found(row: ArmSummary) -> list[tuple[Claim, Replication]]:
        return held(row.published, records=table.records, label=row.label)

    claims = [Column("published", lambda row: cells.published(found(row)))] if has_claims else []
    claims_raw = [Column(raw=lambda row: {"published": [_claim(*each) for each in found(row)]})] if has_claims else []
    if not table.timed and table.metric.startswith("seconds"):
        return []

    def change(row: ArmSummary) -> str:
        if row.change is None:
            return "baseline"
        return cells.interval(row.change.effect, decimals=3 if table.logs else table.decimals, sign=not table.logs)

    return [
        Column(
            table.header,
            lambda row: cells.interval(row.value, decimals=table.decimals),
            lambda row: _bounds(table.metric, row.value),
        ),
        *claims,
        Column(
            "ratio to baseline" if table.logs else "difference",
            change,
            lambda row: _comparison("ratio" if table.logs else "difference", row.change),
        ),
        Column("p (Holm)", lambda row: cells.p_value(row.holm), lambda row: {"p_holm": row.holm}),
        *claims_raw,
    ]


def _padding(table: Table) -> list[Column]:
    """How much of what the model computed was padding, in workloads that have any: over all runs that are done."""
    done = table.records[table.records["status"] == "done"]
    if not (done["padded_samples"] > done["samples"]).any():
        return []
    arms = done.groupby("label")
    sums = arms[["samples", "padded_samples"]].sum()
    share = 100 * (1 - sums["samples"] / sums["padded_samples"])
    least, variation = 100 * arms["least_padding"].mean(), arms["batch_variation"].mean()
    rate = sums["samples"] / arms["seconds_train"].sum()

    def column(name: str, heading: str, values: pd.Series, decimals: int) -> Column:
        return Column(
            heading,
            lambda row: cells.number(values.get(row.label, math.nan), decimals=decimals),
            lambda row: {name: float(values.get(row.label, math.nan))},
        )

    return [
        column("padding_percent", "padding (%)", share, 1),
        column("least_padding_percent", "least possible (%)", least, 1),
        column("batch_variation", f"variation of {table.counted_in} a batch", variation, 2),
        *([column("tokens_per_second", f"{table.counted_in} a second", rate, 0)] if table.timed else []),
    ]


def _claim(claim: Claim, ours: Replication) -> dict[str, Any]:
    parts = {name: getattr(claim, name) for name in ("value", "low", "high", "source", "note")}
    return parts | {
        "verdict": ours.verdict, "difference": ours.difference, "difference_low": ours.low, "difference_high": ours.high
    }  # fmt: skip


def _total(table: Table, *, cost: str, heading: str) -> Column:
    """What whole runs spent: seconds with their interval."""
    if cost != "seconds":
        return Column(
            heading,
            lambda row: cells.number(row.totals[cost].mean, decimals=0),
            lambda row: {TOTALS[cost]: row.totals[cost].mean},
        )
    decimals = cells.column_decimals(row.totals[cost] for row in table.rows)
    return Column(
        heading,
        lambda row: cells.interval(row.totals[cost], decimals=decimals),
        lambda row: _bounds(TOTALS[cost], row.totals[cost]),
    )


def _cost(cost: str, *, heading: str) -> Column:
    """What an arm spent to reach the target."""
    name = f"{NAMES[cost]}_to_target"

    def text(row: ArmSummary) -> str:
        value = row.costs[cost].value.mean
        shown = cells.number(value, decimals=cells.decimals(value) if cost == "seconds" else 0)
        return shown if row.costs[cost].complete or math.isinf(value) else f"median {shown}"

    def raw(row: ArmSummary) -> dict[str, Any]:
        kind = "geometric mean" if row.costs[cost].complete else "median"
        return _bounds(name, row.costs[cost].value) | {f"{name}_kind": kind}

    return Column(heading, text, raw)


def _speedup(cost: str, *, heading: str) -> Column:
    """The baseline's cost over the arm's."""
    return Column(
        heading,
        lambda row: cells.speedup(row.speedups[cost].effect) if cost in row.speedups else "baseline",
        lambda row: _comparison(f"speedup_{NAMES[cost]}", row.speedups.get(cost)),
    )


def _comparison(name: str, comparison: Comparison | None) -> dict[str, Any]:
    effect = comparison.effect if comparison else Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)
    return _bounds(name, effect) | {f"{name}_n": effect.n, f"{name}_method": comparison.method if comparison else ""}


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_mean": interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
