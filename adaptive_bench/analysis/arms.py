"""A row of a table: one arm, by itself and against the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from . import verdict
from .acting import acted
from .compare import Comparison, difference, ratio, ratio_of_means
from .detectable import detectable
from .intervals import Interval, log_t_interval, percent_interval, t_interval
from .published import Claim, about
from .read import Runs
from .survival import log_rank, pseudo_values, restricted_mean
from .targets import COSTS, costs

STATUSES = ("done", "diverged", "failed", "interrupted", "running")
PARTS = ("statistical", "hardware", "overhead")  # of a speed-up in seconds
NO_INTERVAL = Interval(mean=math.nan, low=math.nan, high=math.nan, n=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an arm spent to reach the target: the geometric mean if all its runs did, else the median with inf for a miss.

    `restricted` is then the mean up to the budget (Kaplan-Meier); nan where nothing was missed.
    """

    value: Interval
    complete: bool
    restricted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """An arm: how many of its runs have which status, and the seeds that other arms have and this one lacks.

    The baseline has no `change` of the metric, no `speedups` and no `parts`. `speedups` are of complete costs, or, where a run
    missed, ratios of means restricted to the budget. `holm` and `speedup_holm` are the p of the change and of the endpoint's
    speed-up, corrected for the family; `not_worse` the one-sided p that the arm is worse by the margin, corrected for the arms.
    `totals` are what whole runs that are done spent, `costs` what it took to reach the target. `parts` make up the speed-up in
    seconds. `inactive` are the runs that crossed before they differed from the baseline, `early` those that crossed within two
    evaluations, `unconfirmed` at the last one, `first` those whose first crossing was another. `published` is what others have
    published for an arm like this.
    """

    label: str
    counts: Mapping[str, int]
    missing: tuple[int, ...]
    value: Interval
    change: Comparison | None
    totals: dict[str, Interval]
    reached: int
    costs: dict[str, Cost]
    speedups: dict[str, Comparison]
    parts: dict[str, Comparison]
    log_rank: float
    detectable: Interval
    inactive: int
    early: int
    unconfirmed: int
    first: int
    published: tuple[Claim, ...]
    p_worse: float = math.nan
    holm: float = math.nan  # these need the other rows
    speedup_holm: float = math.nan
    not_worse: float = math.nan
    verdict: str = ""

    @property
    def n(self) -> int:
        """Runs that are done."""
        return self.counts["done"]

    @property
    def started(self) -> int:
        """Runs that count: all but those that are still running."""
        return sum(self.counts.values()) - self.counts["running"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Arm:
    """An arm's records, its values of the metric and its costs, both by seed; `values` and `totals` are of runs that are done.

    `followed` is how much each run in `spent` had spent when it was last seen below the target: a whole run if it is done, inf if
    it diverged, failed or was interrupted, for such a run never reaches it.
    """

    records: pd.DataFrame
    values: pd.Series
    totals: pd.DataFrame
    spent: pd.DataFrame
    followed: pd.DataFrame

    @classmethod
    def of(cls, runs: Runs, *, records: pd.DataFrame, metric: str, target: float) -> "Arm":
        done = records[records["status"] == "done"].set_index("seed")
        spent = costs(runs, records=records, target=target)
        totals = done[list(COSTS)].astype(float)
        return cls(
            records=records,
            values=done[metric].astype(float),
            totals=totals,
            spent=spent,
            followed=totals.reindex(spent.index).fillna(math.inf),
        )

    @property
    def label(self) -> str:
        return str(self.records["label"].iloc[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all arms of a table are asked: on which scale, at which margin, in which family of tests."""

    metric: str
    logs: bool
    percent: bool
    resolution: float  # of an accuracy, in points
    maximise: bool
    endpoint: str
    margin: float
    family: int
    seeds: set[int] = field(repr=False)
    claims: Sequence[Claim] = field(repr=False)

    def change(self, baseline: pd.Series, other: pd.Series) -> Comparison:
        """The change of the metric: a ratio other / baseline on logarithms, else a difference."""
        if self.logs:
            return ratio(other, baseline)
        return difference(baseline, other, resolution=self.resolution)

    def p_worse(self, change: Comparison) -> float:
        """The one-sided p of the test that an arm is worse than the baseline by the margin or more."""
        if not self.maximise:  # smaller is better: turned around, the limit is a rise by the margin
            limit = math.log1p(self.margin / 100) if self.logs else self.margin
            flipped = Comparison(
                effect=change.effect,
                method=change.method,
                p=change.p,
                estimate=-change.estimate,
                error=change.error,
                df=change.df,
            )
            return flipped.p_above(-limit)
        return change.p_above(-self.margin)


def row(runs: Runs, arm: Arm, *, baseline: Arm, question: Question) -> ArmSummary:
    """The summary of an arm; what needs the other arms is filled in by the table."""
    change, speedups, parts, found = None, dict[str, Comparison](), dict[str, Comparison](), NO_INTERVAL
    p_log_rank, inactive = math.nan, 0
    if arm is not baseline:
        change = question.change(baseline.values, arm.values)
        speedups = {cost: _speedup(cost, baseline=baseline, arm=arm) for cost in COSTS}
        parts = _parts(baseline=baseline.spent, arm=arm.spent)
        found = detectable(speedups[question.endpoint], family=question.family)
        differs = acted(runs, records=arm.records, baseline=baseline.records).reindex(arm.spent.index)
        crossed = arm.spent["samples"].where(
            arm.spent["samples"] > 0
        )  # nothing acts before an untrained model has met the target
        inactive = int((np.isfinite(crossed) & (differs >= crossed)).sum())
        if not np.isfinite(pd.concat([arm.spent["samples"], baseline.spent["samples"]])).all():
            p_log_rank = log_rank(
                arm.spent["samples"], arm.followed["samples"], baseline.spent["samples"], baseline.followed["samples"]
            )
    statuses = arm.records["status"].value_counts()
    return ArmSummary(
        label=arm.label,
        counts={status: int(statuses.get(status, 0)) for status in STATUSES},
        missing=tuple(sorted(question.seeds - set(arm.records["seed"]))),
        value=_value(arm.values, question),
        change=change,
        p_worse=question.p_worse(change) if change else math.nan,
        totals={cost: log_t_interval(arm.totals[cost]) for cost in COSTS},
        reached=int(np.isfinite(arm.spent["samples"]).sum()),
        costs={cost: _cost(cost, arm) for cost in COSTS},
        speedups=speedups,
        parts=parts,
        log_rank=p_log_rank,
        detectable=found,
        inactive=inactive,
        early=int(arm.spent["early"].sum()),
        unconfirmed=int((~arm.spent["confirmed"]).sum()),
        first=int((arm.spent["first"] != arm.spent["samples"]).sum()),
        published=about(question.claims, records=arm.records),
        verdict=verdict.BASELINE if arm is baseline else "",
    )


def judged(arm: ArmSummary, *, maximise: bool, endpoint: str) -> str:
    """The verdict of an arm whose p are corrected."""
    if arm.change is None:
        return verdict.BASELINE
    if arm.reached < arm.started:
        return verdict.MISSED
    if arm.reached and 2 * arm.inactive >= arm.reached:
        return verdict.NOT_YET
    found = verdict.speed(arm.speedups[endpoint], p=arm.speedup_holm)
    if found != verdict.FASTER:
        return found
    worse = (arm.change.estimate < 0) == maximise
    return verdict.quality(p_worse=arm.not_worse, p_change=arm.holm, worse=worse)


def _value(values: pd.Series, question: Question) -> Interval:
    if question.percent:
        return percent_interval(values, resolution=question.resolution)
    return log_t_interval(values) if question.logs else t_interval(values)


def _speedup(cost: str, *, baseline: Arm, arm: Arm) -> Comparison:
    """The baseline's cost over the arm's; nan where a crossing came too early to be placed."""
    spent = [each.spent[cost] for each in (baseline, arm)]
    if baseline.spent["early"].any() or arm.spent["early"].any():
        return ratio(*(values * math.nan for values in spent))
    if all(np.isfinite(values).all() for values in spent):
        return ratio(*spent, slack=_slack(baseline.spent, arm.spent))
    ends = [_largest(each.followed[cost]) for each in (baseline, arm)]
    horizon = min(ends)
    if math.isnan(horizon) or not any((values < horizon).any() for values in spent):
        return ratio(*(values * math.nan for values in spent))
    pseudo = [pseudo_values(each.spent[cost], each.followed[cost], horizon=horizon) for each in (baseline, arm)]
    return ratio_of_means(*pseudo)


def _slack(baseline: pd.DataFrame, arm: pd.DataFrame) -> float:
    """How far the log speed-up moves if crossings are placed on straight lines: what the width of their brackets leaves open."""
    moved = [float(np.log(spent["line"] / spent["samples"]).mean()) for spent in (baseline, arm)]
    return abs(moved[0] - moved[1])


def _largest(followed: pd.Series) -> float:
    """The most that a run which is done has spent; nan without such a run."""
    return float(followed[np.isfinite(followed)].max()) if np.isfinite(followed).any() else math.nan


def _parts(*, baseline: pd.DataFrame, arm: pd.DataFrame) -> dict[str, Comparison]:
    """The speed-up in seconds = statistical x hardware x overhead: samples to the target, seconds of training a sample, and what
    measuring adds to training. In every pair of runs the logarithms add up exactly.
    """
    factors = [
        {
            "statistical": spent["samples"],
            "hardware": spent["train"] / spent["samples"],
            "overhead": spent["seconds"] / spent["train"],
        }
        for spent in (baseline.where(~baseline["early"]), arm.where(~arm["early"]))
    ]
    return {part: ratio(*(values[part] for values in factors)) for part in PARTS}


def _cost(cost: str, arm: Arm) -> Cost:
    spent = arm.spent[cost]
    if np.isfinite(spent).all():
        return Cost(value=log_t_interval(spent), complete=True, restricted=math.nan)
    horizon = _largest(arm.followed[cost])
    restricted = math.nan if math.isnan(horizon) else restricted_mean(spent, arm.followed[cost], horizon=horizon)
    return Cost(
        value=Interval(mean=float(np.median(spent)), low=math.nan, high=math.nan, n=len(spent)),
        complete=False,
        restricted=restricted,
    )
