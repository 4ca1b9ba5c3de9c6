"""The columns of a table: the cells that a reader sees, and the numbers in full."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import cells, verdict
from .arms import PARTS, REPLAYED, ArmSummary
from .compare import PAIRED, Comparison
from .effects import Effect
from .intervals import Interval
from .published import Claim, Replication
from .tables import Table

# names of the numbers, the same for every table; a reader of the cells sees tokens where samples are tokens
NAMES = {"samples": "samples", "steps": "updates", "seconds": "seconds", REPLAYED: "replayed seconds"}
VERDICT, QUALITY, TOTAL, COST, SPEEDUP, STABILITY = GROUPS = ("verdict", "quality", "whole runs", "cost", "speed-up", "stability")
STEADINESS = {  # heading and decimals; -1 for two significant digits
    "changes": ("changes of size", 1),
    "reversals": ("reversals", 1),
    "dips": ("dips after a change", 1),
    "loss_variance": ("loss variance", -1),
    "memory_used": ("peak memory (%)", 0),
    "calibration_samples": ("samples calibrated on", 0),
    "tuning_samples": ("samples tuned on", 0),
}
TOTALS = {"samples": "samples_trained", "steps": "updates", "seconds": "training_seconds", REPLAYED: "replayed_training_seconds"}
CLOCKS = ("seconds", REPLAYED)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that shows an arm as `text` under a `heading`, and gives its `raw` numbers by name.

    Without a heading it is among the numbers only. On a terminal the columns of a `group` stand together.
    """

    group: str
    heading: str = ""
    text: Callable[[ArmSummary], str] = lambda row: ""
    raw: Callable[[ArmSummary], dict[str, Any]] = lambda row: {}


def text_frame(table: Table, groups: Collection[str] = GROUPS) -> pd.DataFrame:
    """The cells of a table as a reader sees them, one row an arm; of these groups, with the arm's name first."""
    shown = [column for column in columns(table) if column.heading and (column.group in groups or column.heading == "arm")]
    return pd.DataFrame([{column.heading: column.text(row) for column in shown} for row in table.rows])


def raw_rows(table: Table) -> list[dict[str, Any]]:
    """The numbers of a table, one dictionary an arm."""
    found = columns(table)
    return [{name: value for column in found for name, value in column.raw(row).items()} for row in table.rows]


def raw_effect(table: Table, effect: Effect) -> dict[str, Any]:
    """The numbers of an effect: the speed-up of the table's endpoint and the change of its metric, both against the control."""
    named = {"arm": effect.arm, "effect": effect.name, "control": effect.control}
    change = _comparison("ratio" if table.logs else "difference", effect.change)
    return named | _comparison(f"speedup_{NAMES[table.endpoint]}", effect.speedup) | change


def columns(table: Table) -> list[Column]:
    """All columns of a table, from left to right."""
    names = NAMES | {"samples": table.counted_in}
    end = table.endpoint
    return [
        Column(VERDICT, "arm", lambda row: row.label, lambda row: {"label": row.label}),
        Column(VERDICT, "verdict", lambda row: row.verdict, lambda row: {"verdict": row.verdict}),
        Column(VERDICT, "runs", _runs, lambda row: {"n": row.n, "started": row.started, **row.counts}),
        _missing(table),
        Column(
            VERDICT,
            "reached",
            lambda row: f"{row.reached}/{row.started}",
            lambda row: {
                "reached": row.reached, "runs": row.started, "inactive": row.inactive, "crossed_early": row.early,
                "unconfirmed": row.unconfirmed, "first_crossing_differs": row.first,
            },
        ),
        _speedup(end, heading=f"speed-up, {names[end]}", group=VERDICT),
        Column(
            VERDICT,
            "p (Holm), speed-up",
            lambda row: cells.NOTHING if _unlike(row) else cells.p_value(row.speedup_holm),
            lambda row: {"p_holm_speedup": row.speedup_holm},
        ),
        Column(
            VERDICT,
            "detectable",
            lambda row: cells.NOTHING if _unlike(row) else cells.detectable(row.detectable),
            lambda row: _bounds(f"detectable_speedup_{NAMES[end]}", row.detectable),
        ),
        *_metric(table),
        *_padding(table),
        *(_total(table, cost=cost, heading=heading) for cost, heading in table.totals.items()),
        *(_cost(cost, heading=f"{names[cost]} to target") for cost in (*table.costs, *table.replayed)),
        *_misses(table, names),
        *(
            _speedup(cost, heading=f"speed-up, {names[cost]}", group=SPEEDUP)
            for cost in (*table.costs, *table.replayed)
            if cost != end
        ),
        *(_part(part) for part in PARTS if table.timed),
        *(_steadiness(table, name, heading, decimals) for name, (heading, decimals) in STEADINESS.items()),
    ]  # fmt: skip


def _runs(row: ArmSummary) -> str:
    """The number of runs, or, where not all are done, how many have which status."""
    others = {status: count for status, count in row.counts.items() if count and status != "done"}
    return ", ".join([f"{row.n} done", *(f"{count} {status}" for status, count in others.items())]) if others else str(row.n)


def _unlike(row: ArmSummary) -> str:
    """What stands in place of a speed-up that would not be one."""
    if row.idle:
        return verdict.NOT_YET
    return "too early" if row.early else ""


def _missing(table: Table) -> Column:
    """The seeds that an arm lacks; shown where one of them lacks any."""
    return Column(
        VERDICT,
        "missing seeds" if any(row.missing for row in table.rows) else "",
        lambda row: ", ".join(str(seed) for seed in row.missing) or cells.NOTHING,
        lambda row: {"missing_seeds": list(row.missing)},
    )


def _metric(table: Table) -> list[Column]:
    """The metric, what others have published of it, and its change; nothing if it is seconds that are not comparable."""
    has_claims = any(row.published for row in table.rows)
    claims = [Column(QUALITY, "published", lambda row: cells.published(table.held(row)))] if has_claims else []
    claims_raw = [Column(QUALITY, raw=lambda row: {"published": [_claim(*each) for each in table.held(row)]})]
    if not table.timed and table.metric.startswith("seconds"):
        return []

    def change(row: ArmSummary) -> str:
        if row.change is None:
            return "baseline"
        text = table.change(row.change)
        # the means may say another thing than the pairs, where not every run has its pair
        few = row.change.method == PAIRED and row.change.effect.n < max(row.n, table.rows[0].n)
        return f"{text} ({row.change.effect.n} pairs)" if few else text

    return [
        Column(
            QUALITY,
            table.header,
            lambda row: cells.interval(row.value, decimals=table.decimals),
            lambda row: _bounds(table.metric, row.value),
        ),
        *claims,
        Column(
            QUALITY,
            "ratio to baseline" if table.logs else "difference",
            change,
            lambda row: _comparison("ratio" if table.logs else "difference", row.change),
        ),
        Column(
            QUALITY,
            "p (Holm)",
            lambda row: cells.p_value(row.holm),
            lambda row: {"p_holm": row.holm, "p_holm_not_worse": row.not_worse},
        ),
        *(claims_raw if has_claims else []),
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
            TOTAL,
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
    if cost not in CLOCKS:
        return Column(
            TOTAL,
            heading,
            lambda row: cells.number(row.totals[cost].mean, decimals=0),
            lambda row: {TOTALS[cost]: row.totals[cost].mean},
        )
    decimals = cells.column_decimals(row.totals[cost] for row in table.rows)
    return Column(
        TOTAL,
        heading,
        lambda row: cells.interval(row.totals[cost], decimals=decimals),
        lambda row: _bounds(TOTALS[cost], row.totals[cost]),
    )


def _cost(cost: str, *, heading: str) -> Column:
    """What an arm spent to reach the target."""
    name = f"{_key(cost)}_to_target"

    def text(row: ArmSummary) -> str:
        value = row.costs[cost].value.mean
        shown = cells.number(value, decimals=cells.decimals(value) if cost in CLOCKS else 0)
        return shown if row.costs[cost].complete or math.isinf(value) else f"median {shown}"

    def raw(row: ArmSummary) -> dict[str, Any]:
        kind = "geometric mean" if row.costs[cost].complete else "median"
        return _bounds(name, row.costs[cost].value) | {f"{name}_kind": kind}

    return Column(COST, heading, text, raw)


def _key(cost: str) -> str:
    """Of a cost among the numbers."""
    return NAMES[cost].replace(" ", "_")


def _misses(table: Table, names: dict[str, str]) -> list[Column]:
    """Where anything missed the target: what misses allow to be said of the samples to it."""
    if all(row.costs["samples"].complete for row in table.rows):
        return []
    return [
        Column(
            COST,
            f"{names['samples']} up to the budget",
            lambda row: cells.number(_restricted(row), decimals=0),
            lambda row: {"restricted_mean_samples": _restricted(row)},
        ),
        Column(COST, "p (log-rank)", lambda row: cells.p_value(row.log_rank), lambda row: {"p_log_rank": row.log_rank}),
    ]


def _restricted(row: ArmSummary) -> float:
    return row.costs["samples"].restricted


def _speedup(cost: str, *, heading: str, group: str) -> Column:
    """The baseline's cost over the arm's."""

    def text(row: ArmSummary) -> str:
        if cost not in row.speedups:
            return verdict.BASELINE
        if unlike := _unlike(row):
            return unlike
        shown = cells.speedup(row.speedups[cost].effect)
        return f"{shown} (to the budget)" if row.speedups[cost].restricted else shown

    return Column(group, heading, text, lambda row: _comparison(f"speedup_{_key(cost)}", row.speedups.get(cost)))


def _steadiness(table: Table, name: str, heading: str, decimals: int) -> Column:
    """A mean over runs of how steadily they trained, or of a hidden cost; nothing unless it was asked for."""
    found = table.stability
    if found is None:
        return Column(STABILITY)

    def value(row: ArmSummary) -> float:
        return float(found[name].get(row.label, math.nan)) * (100 if name == "memory_used" else 1)

    def text(row: ArmSummary) -> str:
        return cells.number(value(row), decimals=decimals) if decimals >= 0 else cells.p_value(value(row))

    return Column(STABILITY, heading, text, lambda row: {name: value(row)})


def _part(part: str) -> Column:
    """A factor of the speed-up in seconds."""
    return Column(
        SPEEDUP,
        f"{part} part",
        lambda row: (_unlike(row) or cells.speedup(row.parts[part].effect)) if row.parts else verdict.BASELINE,
        lambda row: _comparison(f"{part}_part", row.parts.get(part)),
    )


def _comparison(name: str, comparison: Comparison | None) -> dict[str, Any]:
    effect = comparison.effect if comparison else Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)
    return _bounds(name, effect) | {f"{name}_n": effect.n, f"{name}_method": comparison.method if comparison else ""}


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_mean": interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
