"""A row of a table: one arm, by itself and against the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np

from . import verdict
from .acting import acted
from .compare import NONE, BySeed, Comparison, difference, ratio, ratio_of_means
from .detectable import detectable
from .device import Profile, Replay, replayed
from .intervals import NO_INTERVAL, Interval, log_t_interval, percent_interval, t_interval
from .labels import control_of
from .published import Claim, about
from .read import Runs
from .survival import log_rank, pseudo_values, restricted_mean
from .targets import COSTS, Crossing, crossings

STATUSES = ("done", "diverged", "failed", "interrupted", "running")
ENDED_BADLY = ("diverged", "failed", "interrupted")  # no result: misses
PARTS = ("statistical", "hardware", "overhead")  # of a speed-up in seconds
REPLAYED = "replayed"  # the cost in seconds under the profile of a device


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
    published for an arm like this. `control_of` names the arm of a control, which is held against that arm (see `effects`): its
    own comparisons with the baseline are shown, not tested.
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
    control_of: str
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
    def idle(self) -> bool:
        """Whether at least half of the runs that reached the target had done nothing else than the baseline by then."""
        return _idle(inactive=self.inactive, reached=self.reached)

    @property
    def started(self) -> int:
        """Runs that count: all but those that are still running."""
        return sum(self.counts.values()) - self.counts["running"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Arm:
    """An arm's records; by seed, the values of the metric of runs that are done, and the crossing of every run that counts.

    `replays`, of runs that are done, are there if a device was asked for.
    Plain dictionaries, because pandas takes longer for five values than everything else here.
    """

    label: str
    records: Sequence[Mapping[str, Any]]
    values: Mapping[int, float]
    crossings: Mapping[int, Crossing]
    replays: Mapping[int, Replay] | None = None

    @classmethod
    def of(
        cls,
        runs: Runs,
        label: str,
        records: Sequence[Mapping[str, Any]],
        *,
        metric: str,
        target: float,
        device: Profile | None = None,
    ) -> "Arm":
        return cls(
            label=label,
            records=records,
            values={record["seed"]: float(record[metric]) for record in records if record["status"] == "done"},
            crossings=crossings(runs, records, target=target),
            replays={row["seed"]: replayed(runs, row, device) for row in records if row["status"] == "done"} if device else None,
        )

    @property
    def done(self) -> dict[int, Mapping[str, Any]]:
        """The records of runs that are done."""
        return {record["seed"]: record for record in self.records if record["status"] == "done"}

    @property
    def costs(self) -> tuple[str, ...]:
        return COSTS if self.replays is None else (*COSTS, REPLAYED)

    def whole(self, cost: str) -> dict[int, float]:
        """What each run that is done spent in all."""
        if cost == REPLAYED:
            return {seed: found.total for seed, found in (self.replays or {}).items()}
        return {seed: float(record[cost]) for seed, record in self.done.items()}

    def spent(self, cost: str) -> dict[int, float]:
        """What each run spent to reach the target; inf is a miss."""
        if cost == REPLAYED:
            replays = self.replays or {}  # a run without one is not done, and so a miss
            return {
                seed: replays[seed].until(found.samples) if seed in replays else math.inf
                for seed, found in self.crossings.items()
            }
        return {seed: getattr(found, cost) for seed, found in self.crossings.items()}

    def followed(self, cost: str) -> dict[int, float]:
        """What each run had spent when it was last seen below the target: a whole run if it is done.

        inf if it diverged, failed or was interrupted, for such a run never reaches the target.
        """
        whole = self.whole(cost)
        return {seed: whole.get(seed, math.inf) for seed in self.crossings}

    @property
    def control_of(self) -> str:
        """The label of the arm whose control this is; "" of an arm that is none."""
        return control_of(self.records[0]["settings"])[0]

    def missed(self) -> bool:
        return any(math.isinf(found.samples) for found in self.crossings.values())

    def early(self) -> bool:
        return any(found.early for found in self.crossings.values())


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

    def change(self, baseline: BySeed, other: BySeed) -> Comparison:
        """The change of the metric: a ratio other / baseline on logarithms, else a difference."""
        if self.logs:
            return ratio(other, baseline)
        return difference(baseline, other, resolution=self.resolution)

    def p_worse(self, change: Comparison) -> float:
        """The one-sided p of the test that an arm is worse than the baseline by the margin or more."""
        if self.maximise:
            return change.p_above(-self.margin)
        # smaller is better: turned around, the limit is a rise by the margin
        limit = math.log1p(self.margin / 100) if self.logs else self.margin
        return replace(change, estimate=-change.estimate).p_above(-limit)

    def value(self, values: Mapping[int, float]) -> Interval:
        """The mean of an arm's values on the scale of the metric."""
        if self.percent:
            return percent_interval(values.values(), resolution=self.resolution)
        return (log_t_interval if self.logs else t_interval)(values.values())


def row(runs: Runs, arm: Arm, *, baseline: Arm, question: Question) -> ArmSummary:
    """The summary of an arm; what needs the other arms is filled in by the table."""
    found = arm.crossings.values()
    change = None if arm is baseline else question.change(baseline.values, arm.values)
    speedups = {} if arm is baseline else {cost: speedup(cost, baseline=baseline, arm=arm) for cost in arm.costs}
    statuses = [record["status"] for record in arm.records]
    return ArmSummary(
        label=arm.label,
        counts={status: statuses.count(status) for status in STATUSES},
        missing=tuple(sorted(question.seeds - {record["seed"] for record in arm.records})),
        value=question.value(arm.values),
        change=change,
        p_worse=question.p_worse(change) if change else math.nan,
        totals={cost: log_t_interval(arm.whole(cost).values()) for cost in arm.costs},
        reached=sum(math.isfinite(each.samples) for each in found),
        costs={cost: _cost(cost, arm) for cost in arm.costs},
        speedups=speedups,
        parts={} if arm is baseline else _parts(baseline=baseline, arm=arm),
        log_rank=math.nan if arm is baseline else _log_rank(baseline, arm),
        detectable=detectable(speedups[question.endpoint], family=question.family) if speedups else NO_INTERVAL,
        inactive=0 if arm is baseline else _inactive(runs, baseline=baseline, arm=arm),
        early=sum(each.early for each in found),
        unconfirmed=sum(not each.confirmed for each in found),
        first=sum(each.first != each.samples for each in found),
        published=about(question.claims, records=arm.records),
        control_of=arm.control_of,
    )


def judged(arm: ArmSummary, *, maximise: bool, endpoint: str) -> str:
    """The verdict of an arm whose p are corrected."""
    if arm.change is None:
        return verdict.BASELINE
    if arm.control_of:
        return verdict.CONTROL
    if arm.reached < arm.started:
        return verdict.MISSED
    if arm.idle:
        return verdict.NOT_YET
    found = verdict.speed(arm.speedups[endpoint], p=arm.speedup_holm)
    if found != verdict.FASTER:
        return found
    worse = (arm.change.estimate < 0) == maximise
    return verdict.quality(p_worse=arm.not_worse, p_change=arm.holm, worse=worse)


def is_idle(runs: Runs, *, baseline: Arm, arm: Arm) -> bool:
    """`ArmSummary.idle` of an arm against any other one."""
    reached = sum(math.isfinite(found.samples) for found in arm.crossings.values())
    return _idle(inactive=_inactive(runs, baseline=baseline, arm=arm), reached=reached)


def _idle(*, inactive: int, reached: int) -> bool:
    return bool(reached) and 2 * inactive >= reached


def _inactive(runs: Runs, *, baseline: Arm, arm: Arm) -> int:
    """The runs that crossed the target before they differed from the baseline's run of their seed, or of another."""
    usual, done = baseline.done, arm.done
    if not usual:
        return 0
    any_other = next(iter(usual.values()))
    return sum(
        0 < found.samples < math.inf and acted(runs, done[seed], usual.get(seed, any_other)) >= found.samples
        for seed, found in arm.crossings.items()
    )


def speedup(cost: str, *, baseline: Arm, arm: Arm) -> Comparison:
    """The baseline's cost over the arm's; nothing where a crossing came too early to be placed."""
    if baseline.early() or arm.early():
        return NONE
    if not (baseline.missed() or arm.missed()):
        return ratio(baseline.spent(cost), arm.spent(cost), slack=_slack(baseline, arm))
    horizon = min(_horizon(cost, baseline), _horizon(cost, arm))
    if not any(value < horizon for value in (*baseline.spent(cost).values(), *arm.spent(cost).values())):
        return NONE
    pseudo = [pseudo_values(each.spent(cost), each.followed(cost), horizon=horizon) for each in (baseline, arm)]
    return ratio_of_means(*pseudo)


def _slack(baseline: Arm, arm: Arm) -> float:
    """How far the log speed-up moves if crossings are placed on straight lines: what the width of their brackets leaves open."""
    moved = [fmean(math.log(found.line / found.samples) for found in each.crossings.values()) for each in (baseline, arm)]
    return abs(moved[0] - moved[1])


def _horizon(cost: str, arm: Arm) -> float:
    """The most that a run which is done has spent; 0 without such a run."""
    return max(arm.whole(cost).values(), default=0.0)


def _parts(*, baseline: Arm, arm: Arm) -> dict[str, Comparison]:
    """The speed-up in seconds = statistical x hardware x overhead, by pairs of runs.

    They are the ratios of the samples to the target, of the seconds of training a sample, and of what measuring adds to training.
    In every pair the logarithms add up exactly.
    """
    if any(each.early() or each.missed() for each in (baseline, arm)):
        return dict.fromkeys(PARTS, NONE)
    factors = [
        {
            "statistical": {seed: found.samples for seed, found in each.crossings.items()},
            "hardware": {seed: found.train / found.samples for seed, found in each.crossings.items()},
            "overhead": {seed: found.seconds / found.train for seed, found in each.crossings.items()},
        }
        for each in (baseline, arm)
    ]
    return {part: ratio(*(values[part] for values in factors)) for part in PARTS}


def _log_rank(baseline: Arm, arm: Arm) -> float:
    if not (baseline.missed() or arm.missed()):
        return math.nan
    return log_rank(*(part for each in (arm, baseline) for part in (each.spent("samples"), each.followed("samples"))))


def _cost(cost: str, arm: Arm) -> Cost:
    spent = arm.spent(cost)
    if not arm.missed():
        return Cost(value=log_t_interval(spent.values()), complete=True, restricted=math.nan)
    horizon = _horizon(cost, arm)
    return Cost(
        value=replace(NO_INTERVAL, mean=float(np.median([*spent.values()])), n=len(spent)),
        complete=False,
        restricted=restricted_mean(spent, arm.followed(cost), horizon=horizon) if horizon else math.nan,
    )
