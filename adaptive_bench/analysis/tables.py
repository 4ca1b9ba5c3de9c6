"""One table a workload: every arm's metric, what it spent to reach a common target, and both against the baseline."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from . import baseline as baselines
from . import metrics, notes
from .compare import holm
from .read import Runs
from .rows import Arm, Row, row
from .targets import levels

FRACTION = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`timed` is false where runs were timed under mixed conditions: then no second is printed. On `logs` a change is a ratio."""

    title: str
    workload: str
    metric: str
    header: str
    percent: bool
    logs: bool
    baseline: str
    target: float
    timed: bool
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def table(
    runs: Runs,
    *,
    metric: str = "final",
    baseline: str | None = None,
    target: float | None = None,
    allow_mixed_timing: bool = False,
) -> list[Table]:
    """A table for each workload.

    `metric` is a numeric column of the records; `baseline` a label (default: fixed_small, else the smallest fixed size, else the
    first); `target` a validation value (default: 95 % of the way from the untrained model to the baseline's median best). Seconds
    of runs that differ in device, threads, jobs or allocator are left out unless `allow_mixed_timing`.
    """
    metrics.check(runs.records, metric=metric)
    baselines.check(runs.records, wanted=baseline)
    if target is not None and not math.isfinite(target):
        raise ValueError(f"a target of {target}; a number on the scale of the validation metric is expected")
    groups = [group for _, group in runs.records.groupby("workload", sort=False)]
    return [
        _table(runs, records=group, metric=metric, wanted=baseline, target=target, mixed=allow_mixed_timing) for group in groups
    ]


def _table(runs: Runs, *, records: pd.DataFrame, metric: str, wanted: str | None, target: float | None, mixed: bool) -> Table:
    chosen = baselines.choose(records, wanted=wanted)
    usual = records[records["label"] == chosen]
    goal = levels(runs, baseline=usual, fractions=[FRACTION])[FRACTION] if target is None else target
    logs = metrics.on_logs(records, metric=metric)
    arms = {
        str(label): Arm.of(runs, records=arm, metric=metric, target=goal) for label, arm in records.groupby("label", sort=False)
    }
    rows = [row(arm, baseline=arms[chosen], seeds=set(records["seed"]), rivals=len(arms) - 1, logs=logs) for arm in arms.values()]
    bare = Table(
        title=records["title"].iloc[0],
        workload=records["workload"].iloc[0],
        metric=metric,
        header=metrics.header(records, metric=metric),
        percent=metrics.is_percent(records, metric=metric),
        logs=logs,
        baseline=chosen,
        target=goal,
        timed=mixed or not notes.mixed_timing(records),
        rows=_holm(sorted(rows, key=lambda each: each.label != chosen)),  # the baseline first, the others as they were
        notes=(),
    )
    return replace(bare, notes=notes.notes(bare, records=records, wanted=wanted, fraction=FRACTION if target is None else None))


def _holm(rows: list[Row]) -> tuple[Row, ...]:
    corrected = holm([each.change.p if each.change else math.nan for each in rows])
    return tuple(replace(each, holm=p) for each, p in zip(rows, corrected, strict=True))
