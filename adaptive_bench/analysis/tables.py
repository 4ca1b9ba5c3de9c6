"""One table a workload: every arm's metric, what it spent to reach a common target, and both against the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from . import baseline as baselines
from . import cells, metrics
from .arms import REPLAYED, Arm, ArmSummary, Question, is_idle, judged, row
from .break_even import BreakEven, break_even, half_saturation
from .compare import Comparison, holm
from .device import Profile, fitting
from .effects import Effect, effects
from .goals import Goal, goal
from .published import Claim, Replication, read_claims
from .read import Runs
from .stability import stability_of
from .targets import COSTS
from .timing import UNKNOWN, mixed_timing, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The arms of one workload, as numbers.

    `timed` is false where runs were timed under mixed conditions: then no seconds are printed. On `logs` a change is a ratio.
    Samples are `counted_in` tokens for texts. Verdicts are for the cost `endpoint` and the non-inferiority `margin`, in points
    or, on logs, in percent. `family` is the number of tests that p are corrected for: two an arm, its change and its speed-up.
    `effects` are of arms that have controls, `break_evens` of those that reached the target.
    `records` are the workload's, `wanted` is the baseline that the user asked for.
    """

    title: str
    workload: str
    metric: str
    header: str
    percent: bool
    logs: bool
    counted_in: str
    baseline: str
    goal: Goal
    timed: bool
    endpoint: str
    margin: float
    family: int
    rows: tuple[ArmSummary, ...]
    effects: tuple[Effect, ...]
    break_evens: tuple[BreakEven, ...]
    records: pd.DataFrame = field(repr=False, compare=False)
    stability: pd.DataFrame | None = field(repr=False, compare=False)  # means over an arm's runs, if they were asked for
    wanted: str | None
    siblings: tuple[str, ...]
    device: Profile | None = None  # under which the runs are re-timed

    @property
    def target(self) -> float:
        return self.goal.target

    @property
    def half_saturation(self) -> float:
        """B_half of the device whose profile the table has; nan without one."""
        if self.device is None:
            return math.nan
        sizes = np.outer(self.device.blocks, self.device.batches)
        return half_saturation(sizes.ravel().astype(float), np.asarray(self.device.seconds).ravel())

    @property
    def costs(self) -> list[str]:
        """The costs that are printed."""
        return [cost for cost in COSTS if self.timed or cost != "seconds"]

    @property
    def replayed(self) -> list[str]:
        """The cost that is printed beside them if a device was asked for."""
        return [REPLAYED] if self.device else []

    @property
    def totals(self) -> dict[str, str]:
        """The headings of what whole runs spent, by cost; none for a cost that is the table's metric."""
        names = {"samples": f"{self.counted_in} trained", "steps": "updates", "seconds": "training seconds"}
        names |= {REPLAYED: "replayed training seconds"}
        return {cost: names[cost] for cost in (*self.costs, *self.replayed) if cost != self.metric}

    def held(self, row: ArmSummary) -> list[tuple[Claim, Replication]]:
        """Each published value for an arm, with what the test values of its runs that are done say of it."""
        if not row.published:
            return []
        of_arm = (self.records["label"] == row.label) & (self.records["status"] == "done")
        resolution = metrics.resolution(self.records, metric="final")
        values = self.records.loc[of_arm, "final"]
        return [(claim, claim.verdict(values, margin=self.margin, resolution=resolution)) for claim in row.published]

    def name_of(self, cost: str) -> str:
        """What a cost is counted in, for readers: samples or tokens, updates, seconds."""
        return {"samples": self.counted_in, "steps": "updates"}.get(cost, cost)

    def change(self, change: Comparison) -> str:
        """A change of the metric as text: a ratio on logs, else a difference with its sign."""
        return cells.interval(change.effect, decimals=3 if self.logs else self.decimals, sign=not self.logs)

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
    targets: Mapping[str, Goal] | None = None,
    endpoint: str = "samples",
    margin: float | None = None,
    allow_mixed_timing: bool = False,
    allow_mixed_versions: bool = False,
    claims: Sequence[Claim] | None = None,
    wide: bool = False,
    devices: Sequence[Profile] = (),
) -> list[Table]:
    """A table for each workload.

    `metric` is a numeric column of the records; `baseline` a label (default: fixed_small, else the smallest fixed size, else the
    first). The target is a validation value: `target` for the one workload there is, or by workload from `targets` (see
    `goals.read_goals`), else 95 % of the way from the untrained model to the baseline's median best. `endpoint` is the cost that
    verdicts are about: samples, steps or seconds. An arm is not worse if it loses less than `margin`: points of a percentage
    (default 0.5), else percent (default 1). Seconds of runs that differ in device, threads, jobs or allocator are left out unless
    `allow_mixed_timing`; runs of different sources or versions of torch are refused unless `allow_mixed_versions`. `claims`
    (default: those of published.yaml) are of test values and stand beside them, not beside another metric. `wide` adds how
    steadily runs trained, and their hidden costs, for which every trace is read. `devices` adds the seconds that runs would take
    under the step times of a device (see `device.replay`); each workload takes the profile of its own data set and model.
    Raises ValueError.
    """
    metrics.check(runs.records, metric=metric)
    baselines.check(runs.records, wanted=baseline)
    groups = [group for _, group in runs.records.groupby("workload", sort=False)]
    if endpoint not in COSTS:
        raise ValueError(f"an endpoint of {endpoint!r}; expected one of {', '.join(COSTS)}")
    if margin is not None and not 0 < margin < math.inf:
        raise ValueError(f"a margin of {margin}; a finite number above 0 is expected, in points of accuracy or % of perplexity")
    if target is not None and len(groups) > 1:
        titles = "; ".join(group["title"].iloc[0] for group in groups)
        raise ValueError(
            f"one target for {len(groups)} workloads ({titles}); give each its own with --targets FILE, "
            "which `adaptive-bench targets RESULTS -o FILE` writes"
        )
    for group in groups:
        if not allow_mixed_versions:
            _refuse_mixed_versions(group)
    if metric != "final":
        claims = ()
    elif claims is None:
        claims = read_claims()
    goals = dict(targets or {})
    if targets and (absent := [group["title"].iloc[0] for group in groups if group["workload"].iloc[0] not in targets]):
        raise ValueError(
            f"the file of targets has none for {'; '.join(absent)}; write one from runs with these settings on other seeds: "
            "`adaptive-bench targets RESULTS -o FILE`"
        )
    if target is not None:
        goals[groups[0]["workload"].iloc[0]] = Goal.by_hand(target, metric=groups[0]["metric"].iloc[0])
    siblings = _siblings(groups)
    profiles = [fitting(devices, group) for group in groups]
    steadiness = [stability_of(runs, records=group) if wide else None for group in groups]
    return [
        _table(
            runs, records=group, metric=metric, wanted=baseline, goals=goals, endpoint=endpoint, margin=margin,
            mixed=allow_mixed_timing, claims=claims, siblings=near, stability=steady, device=profile,
        )
        for group, near, steady, profile in zip(groups, siblings, steadiness, profiles, strict=True)
    ]  # fmt: skip


def _table(
    runs: Runs,
    *,
    records: pd.DataFrame,
    metric: str,
    wanted: str | None,
    goals: Mapping[str, Goal],
    endpoint: str,
    margin: float | None,
    mixed: bool,
    claims: Sequence[Claim],
    siblings: tuple[str, ...],
    stability: pd.DataFrame | None,
    device: Profile | None,
) -> Table:
    chosen = baselines.choose(records, wanted=wanted)
    workload = records["workload"].iloc[0]
    wished = goals.get(workload) or goal(runs, baseline=records[records["label"] == chosen])
    logs, percent = metrics.on_logs(records, metric=metric), metrics.is_percent(records, metric=metric)
    arms = [
        Arm.of(runs, label, rows, metric=metric, target=wished.target, device=device)
        for label, rows in runs.arms[workload].items()
    ]
    usual = next(arm for arm in arms if arm.label == chosen)
    timed = mixed or not mixed_timing(records)
    question = Question(
        metric=metric,
        logs=logs,
        percent=percent,
        resolution=metrics.resolution(records, metric=metric),
        maximise=metrics.more_is_better(records, metric=metric),
        endpoint=endpoint,
        margin=margin if margin is not None else 0.5 if percent else 1.0,
        family=max(1, 2 * (sum(not arm.control_of for arm in arms) - 1)),
        seeds=set(records["seed"]),
        claims=claims,
    )
    rows = [row(runs, arm, baseline=usual, question=question) for arm in arms]
    if endpoint == "seconds" and not timed:
        raise ValueError(
            f"{records['title'].iloc[0]}: seconds are of mixed conditions; take another endpoint or --allow-mixed-timing"
        )
    return Table(
        title=records["title"].iloc[0],
        workload=workload,
        metric=metric,
        header=metrics.header(records, metric=metric),
        percent=percent,
        logs=logs,
        counted_in=metrics.counted_in(records),
        baseline=chosen,
        goal=wished,
        timed=timed,
        endpoint=endpoint,
        margin=question.margin,
        family=question.family,
        rows=_judged(
            sorted(rows, key=lambda each: each.label != chosen), question
        ),  # the baseline first, the others as they were
        effects=effects(arms, question=question, alike=lambda control, arm: is_idle(runs, baseline=control, arm=arm)),
        break_evens=_break_evens(usual, arms, rows),
        records=records,
        stability=stability,
        wanted=wanted,
        siblings=siblings,
        device=device,
    )


def _judged(rows: list[ArmSummary], question: Question) -> tuple[ArmSummary, ...]:
    """The rows with corrected p and their verdicts: Holm over the family, all changes and all speed-ups of the endpoint."""
    others = [each for each in rows if each.change is not None and not each.control_of]
    changes = [each.change.p for each in others if each.change]
    corrected = holm([*changes, *(each.speedups[question.endpoint].p for each in others)])
    not_worse = holm([each.p_worse for each in others])
    done = {
        each.label: replace(each, holm=p, speedup_holm=faster, not_worse=same)
        for each, p, faster, same in zip(others, corrected, corrected[len(others) :], not_worse, strict=False)
    }
    return tuple(
        replace(each, verdict=judged(each, maximise=question.maximise, endpoint=question.endpoint))
        for each in (done.get(each.label, each) for each in rows)
    )


def _break_evens(baseline: Arm, arms: Sequence[Arm], rows: Sequence[ArmSummary]) -> tuple[BreakEven, ...]:
    """Of every arm that did something else than the baseline before it reached the target; not of controls."""
    idle = {each.label for each in rows if each.idle}
    others = [arm for arm in arms if arm is not baseline and not arm.control_of and arm.label not in idle]
    return tuple(found for arm in others if (found := break_even(baseline, arm)) is not None)


def _refuse_mixed_versions(records: pd.DataFrame) -> None:
    if mixed := mixed_versions(records):
        named = "; ".join(f"{name}: {', '.join(found)}" for name, found in mixed.items())
        raise ValueError(
            f"{records['title'].iloc[0]}: runs of different versions ({named}); make them anew with one version, or let "
            "--allow-mixed-versions pool them"
        )


def mixed_versions(records: pd.DataFrame) -> dict[str, list[str]]:
    """What differs between runs in the code that they passed through: our sources (a digest) and torch's version."""
    done = records[records["status"].isin(("done", "diverged"))]
    found = {name: [text or UNKNOWN for text in values(done, name)] for name in ("sources", "torch") if name in done}
    return {name: several for name, several in found.items() if len(several) > 1}


def _siblings(groups: Sequence[pd.DataFrame]) -> list[tuple[str, ...]]:
    """For a workload with one arm, the titles of others on the same data set and model: settings kept its arms apart."""
    places = [tuple(group[["dataset", "model"]].iloc[0]) for group in groups]
    titles = [group["title"].iloc[0] for group in groups]
    alone = [len(set(group["label"])) == 1 for group in groups]
    return [
        tuple(other for other, there in zip(titles, places, strict=True) if one and there == place and other != title)
        for title, place, one in zip(titles, places, alone, strict=True)
    ]
