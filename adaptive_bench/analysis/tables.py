"""One table a workload: every arm's metric, what it spent to reach a common target, and both against the baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from . import baseline as baselines
from . import cells, metrics
from .arms import Arm, ArmSummary, row
from .compare import holm
from .published import Claim, read_claims
from .read import Runs
from .targets import COSTS, levels
from .timing import mixed_timing

FRACTION = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The arms of one workload, as numbers.

    `timed` is false where runs were timed under mixed conditions: then no seconds are printed. On `logs` a change is a ratio.
    Samples are `counted_in` tokens for texts. `records` are the workload's, `wanted` is the baseline that the user asked for, and
    `fraction` says where between the untrained model and the baseline the target lies (None: the user set the target).
    """

    title: str
    workload: str
    metric: str
    header: str
    percent: bool
    logs: bool
    counted_in: str
    baseline: str
    target: float
    timed: bool
    rows: tuple[ArmSummary, ...]
    records: pd.DataFrame = field(repr=False, compare=False)
    wanted: str | None
    fraction: float | None

    @property
    def costs(self) -> list[str]:
        """The costs that are printed."""
        return [cost for cost in COSTS if self.timed or cost != "seconds"]

    @property
    def totals(self) -> dict[str, str]:
        """The headings of what whole runs spent, by cost; none for a cost that is the table's metric."""
        names = {"samples": f"{self.counted_in} trained", "steps": "updates", "seconds": "training seconds"}
        return {cost: names[cost] for cost in self.costs if cost != self.metric}

    @property
    def decimals(self) -> int:
        """Of the metric."""
        return 2 if self.percent else cells.column_decimals(row.value for row in self.rows)


def table(
    runs: Runs,
    *,
    metric: str = "final",
    baseline: str | None = None,
    target: float | None = None,
    allow_mixed_timing: bool = False,
    claims: Sequence[Claim] | None = None,
) -> list[Table]:
    """A table for each workload.

    `metric` is a numeric column of the records; `baseline` a label (default: fixed_small, else the smallest fixed size, else the
    first); `target` a validation value (default: 95 % of the way from the untrained model to the baseline's median best). Seconds
    of runs that differ in device, threads, jobs or allocator are left out unless `allow_mixed_timing`. `claims` (default: those
    of published.yaml) are of test values and stand beside them, not beside another metric.
    """
    metrics.check(runs.records, metric=metric)
    baselines.check(runs.records, wanted=baseline)
    if target is not None and not math.isfinite(target):
        raise ValueError(f"a target of {target}; a number on the scale of the validation metric is expected")
    if metric != "final":
        claims = ()
    elif claims is None:
        claims = read_claims()
    groups = [group for _, group in runs.records.groupby("workload", sort=False)]
    return [
        _table(runs, records=group, metric=metric, wanted=baseline, target=target, mixed=allow_mixed_timing, claims=claims)
        for group in groups
    ]


def _table(
    runs: Runs,
    *,
    records: pd.DataFrame,
    metric: str,
    wanted: str | None,
    target: float | None,
    mixed: bool,
    claims: Sequence[Claim],
) -> Table:
    chosen = baselines.choose(records, wanted=wanted)
    usual = records[records["label"] == chosen]
    goal = levels(runs, baseline=usual, fractions=[FRACTION])[FRACTION] if target is None else target
    logs = metrics.on_logs(records, metric=metric)
    arms = {
        str(label): Arm.of(runs, records=arm, metric=metric, target=goal) for label, arm in records.groupby("label", sort=False)
    }
    seeds, rivals = set(records["seed"]), len(arms) - 1
    rows = [row(arm, baseline=arms[chosen], seeds=seeds, rivals=rivals, logs=logs, claims=claims) for arm in arms.values()]
    return Table(
        title=records["title"].iloc[0],
        workload=records["workload"].iloc[0],
        metric=metric,
        header=metrics.header(records, metric=metric),
        percent=metrics.is_percent(records, metric=metric),
        logs=logs,
        counted_in=metrics.counted_in(records),
        baseline=chosen,
        target=goal,
        timed=mixed or not mixed_timing(records),
        rows=_holm(sorted(rows, key=lambda each: each.label != chosen)),  # the baseline first, the others as they were
        records=records,
        wanted=wanted,
        fraction=FRACTION if target is None else None,
    )


def _holm(rows: list[ArmSummary]) -> tuple[ArmSummary, ...]:
    corrected = holm([each.change.p if each.change else math.nan for each in rows])
    return tuple(replace(each, holm=p) for each, p in zip(rows, corrected, strict=True))
