"""Statements held against tables: what somebody says of one arm against another, and what the runs say of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from . import cells, metrics
from . import verdict as verdicts
from .acting import STEPS
from .arms import REPLAYED
from .compare import NONE, Comparison, contrast, difference, on_logs, ratio
from .detectable import detectable
from .device import replayed
from .read import Runs
from .stability import reaction, steadiness
from .tables import Table

SUPPORTED, CONTRADICTED, UNDECIDED = "supported here", "contradicted here", "no difference shown"
Expectation = Literal["more", "less", "not worse", "none", "differs"]
TO_TARGET = {"samples": "samples", "updates": "steps", "seconds": "seconds"}  # what a table calls these costs
MEASURING = "measuring"
Row: TypeAlias = Mapping[str, Any]  # of the records
COUNTED = ("changes", "reversals", "dips", "falls", "decline", "quarter")  # differences, for a ratio to none of them says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One comparison: what `of` the `arm` against that of the arm `against` is expected to be.

    `of` is one of
    - samples, updates, seconds: the speed-up in this cost to the target; seconds are those of the table's device, if it has one;
    - final: the test value, where more is better, also of perplexity;
    - changes, reversals, dips: the difference of these counts; falls: of evaluations that are worse than the one before;
    - decline: how far the last validation value lies below the best one, as overfitting makes it; the difference;
    - quarter: the validation value after a quarter of the budget, where more is better, also of perplexity; the difference;
    - reaction: the samples from the first milestone of the learning rate to the next change of a size, as a multiple of the mean
      of the same from nine moments before it, when nothing happened; the ratio, arm / against;
    - validation_loss: the last one; the ratio, arm / against;
    - measuring: the share of the seconds that measuring takes, against a number;
    - a column of the records: the ratio of whole runs, arm / against; seconds_train are those of the device, if there is one.
    `against` may be a number of final and decline, too.
    """

    arm: str
    against: str | float
    of: str
    expects: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict of a statement on one workload, with its effect as text, and the effect that could have been seen.

    `sign` is 1 or -1 if the interval lies above or below no effect, else 0; `estimate` is the effect on the scale of its test.
    """

    statement: Statement
    title: str
    verdict: str
    sign: int
    effect: str
    could_have_seen: str
    estimate: float = math.nan


def judge(statement: Statement, made: Table, runs: Runs, *, than: tuple[Statement, Table, Runs] | None = None) -> Finding:
    """What the runs of a table, whose baseline is `statement.against`, say of a statement. Raises ValueError for unknown arms.

    The rule: a 95 % interval on the expected side of no effect supports the statement, one on the other side contradicts it, and
    one that holds no effect does neither. "not worse" is supported if the interval lies above minus the table's margin,
    contradicted if it lies below. "none" is supported by an interval within the margin, or within a tenth of a ratio of 1, and
    contradicted by one that leaves no effect out; "differs" the other way round. Nothing is corrected for several tests: where
    there are no effects, one test in twenty supports or contradicts one.

    With `than`, the same of other runs (other arms, or another table), the effect is how much larger that of `statement` is.
    """
    found, is_ratio = _compared(statement, made, runs)
    if than:
        found = contrast(found, _compared(*than)[0])
        found = on_logs(found) if is_ratio else found
        other = f"{than[0].arm} against {than[0].against}" if than[1].title == made.title else than[1].title
    low, high = ((math.log(end) if end > 0 else math.nan) if is_ratio else end for end in (found.effect.low, found.effect.high))
    if statement.of == "final" and not metrics.more_is_better(made.records, metric=made.metric):
        low, high = -high, -low  # so that more is better
    margin = math.log1p(made.margin / 100) if made.logs else made.margin
    verdict = judged(low, high, expects=statement.expects, least=margin if statement.of == "final" else math.log(1.1))
    seen = detectable(found, family=1).mean
    if statement.of == "final":
        effect = made.change(found)
    else:
        decimals = 4 if statement.of == MEASURING else 1
        effect = cells.speedup(found.effect) if is_ratio else cells.interval(found.effect, decimals=decimals, sign=True)
    if math.isnan(found.effect.mean):
        idle = any(row.label == statement.arm and row.idle for row in made.rows)
        effect = verdicts.NOT_YET if idle else verdicts.CANNOT_TELL
    could = "" if math.isnan(seen) else f"{seen:.2f}" if is_ratio else f"{math.log(seen):.2f}"
    return Finding(
        statement=statement,
        title=f"{made.title}, more than {other}" if than else made.title,
        verdict=verdict,
        sign=int(low > 0) - int(high < 0),
        effect=effect,
        could_have_seen=could,
        estimate=found.estimate,
    )


def correlated(level: str, levels: Sequence[float], found: Sequence[Finding], *, expects: Expectation) -> Finding:
    """Whether an effect is larger where a `level` of the workload is: Spearman's rank correlation over workloads.

    The interval is that of Fieller, Hartley and Pearson (1957): atanh(rho) has a standard error of sqrt(1.06 / (n - 3)). What the
    effects themselves are unsure by is not in it. Workloads on which the effect cannot be told are left out, and counted in the
    title; with fewer than four others nothing can be told.
    """
    known = [(each, one.estimate) for each, one in zip(levels, found, strict=True) if math.isfinite(one.estimate)]
    told = len(known) > 3
    rho = float(stats.spearmanr(known).statistic) if told else math.nan
    half = float(stats.norm.ppf(0.975)) * math.sqrt(1.06 / (len(known) - 3)) if told else math.nan
    middle = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    low, high = float(np.tanh(middle - half)), float(np.tanh(middle + half))
    return Finding(
        statement=found[0].statement,
        title=f"{'' if len(known) == len(found) else f'{len(known)} of '}{len(found)} workloads, rank correlation with {level}",
        verdict=judged(low, high, expects=expects, least=0.0),
        sign=int(low > 0) - int(high < 0),
        effect=f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]" if told else verdicts.CANNOT_TELL,
        could_have_seen=f"{np.tanh(half * (1 + 0.8416 / 1.96)):.2f}" if told else "",
        estimate=rho,
    )


def judged(low: float, high: float, *, expects: Expectation, least: float) -> str:
    """The verdict of an interval of an effect that is 0 if there is none; effects up to `least` count as none."""
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    supports = {
        "more": low > 0,
        "less": high < 0,
        "differs": low > 0 or high < 0,
        "not worse": low > -least,
        "none": -least < low and high < least,
    }
    contradicts = {
        "more": high < 0,
        "less": low > 0,
        "differs": -least < low and high < least,
        "not worse": high < -least,
        "none": low > 0 or high < 0,
    }
    if supports[expects]:
        return SUPPORTED
    return CONTRADICTED if contradicts[expects] else UNDECIDED


def _compared(statement: Statement, made: Table, runs: Runs) -> tuple[Comparison, bool]:
    """The comparison as it is printed, and whether its effect is a ratio."""
    known = [row.label for row in made.rows]
    for name in (statement.arm, *([statement.against] if isinstance(statement.against, str) else [])):
        if name not in known:
            raise ValueError(f"{made.title} has no arm {name!r}, only {', '.join(known)}")
    if isinstance(statement.against, str) and made.baseline != statement.against:
        raise ValueError(f"{made.title} has the baseline {made.baseline!r}; {statement.against!r} is expected")
    if not isinstance(statement.against, str):
        return _beyond(statement, statement.against, made, runs)
    row = next(row for row in made.rows if row.label == statement.arm)
    if (cost := TO_TARGET.get(statement.of)) and row.change is not None:
        cost = REPLAYED if cost == "seconds" and made.device else cost
        return (NONE if row.idle else row.speedups[cost]), True
    if statement.of == "final" and row.change is not None:
        return row.change, made.logs
    other, usual = (_by_seed(statement.of, name, made, runs) for name in (statement.arm, statement.against))
    return (difference(usual, other), False) if statement.of in COUNTED else (ratio(other, usual), True)


def _beyond(statement: Statement, number: float, made: Table, runs: Runs) -> tuple[Comparison, bool]:
    """An arm's values against a number."""
    values = _by_seed(statement.of, statement.arm, made, runs)
    known = dict.fromkeys(values.index, number)
    if statement.of == "final" and made.logs:
        return ratio(values, known), True  # as a change of the metric is: other / baseline
    resolution = metrics.resolution(made.records, metric="final") if statement.of == "final" else 0.0
    return difference(known, values, resolution=resolution), False


def _by_seed(of: str, arm: str, made: Table, runs: Runs) -> pd.Series:
    """What each run of an arm that is done has of it."""
    records = made.records[(made.records["status"] == "done") & (made.records["label"] == arm)]
    if measured := OF_A_RUN.get(of):
        rows = records.to_dict("records")
        return pd.Series([measured({str(key): value for key, value in row.items()}, made, runs) for row in rows], records["seed"])
    if of in (*COUNTED, "loss_variance"):
        records = steadiness(runs, records=records)
    if of not in records:
        raise ValueError(f"of: {of} is neither a cost, nor final, nor a column of the records")
    return records.set_index("seed")[of]


def _decline(row: Row, made: Table, runs: Runs) -> float:
    values = _risen(row, made, runs)
    return float(values.max() - values[-1])


def _falls(row: Row, made: Table, runs: Runs) -> float:
    return float((np.diff(_risen(row, made, runs)) < 0).sum())


def _quarter(row: Row, made: Table, runs: Runs) -> float:
    samples = runs.curve(row["run"]).samples
    return float(np.interp(samples[-1] / 4, samples, _risen(row, made, runs)))


def _risen(row: Row, made: Table, runs: Runs) -> np.ndarray:
    """The validation curve, turned around where smaller values are better."""
    return runs.curve(row["run"]).value * (1 if metrics.more_is_better(made.records, metric=made.metric) else -1)


def _seconds_train(row: Row, made: Table, runs: Runs) -> float:
    return replayed(runs, row, made.device).total if made.device else float(row["seconds_train"])


def _reaction(row: Row, made: Table, runs: Runs) -> float:
    settings = row["settings"]
    if not (milestones := settings.get("lr_schedule.milestones")):
        raise ValueError(f"of: reaction is that to a milestone of the learning rate; {row['label']} has none")
    milestone = float(milestones[0]) / float(settings["epochs"]) * float(row["samples"])
    trace = runs.trace(row["run"], STEPS)
    # who changes sizes all the time is soon to change after anything
    usual = np.mean([reaction(trace, after=milestone * tenths / 10) for tenths in range(1, 10)])
    return reaction(trace, after=milestone) / float(usual)


OF_A_RUN: Mapping[str, Callable[[Row, Table, Runs], float]] = {
    "decline": _decline,
    "falls": _falls,
    "quarter": _quarter,
    "reaction": _reaction,
    "seconds_train": _seconds_train,
    "validation_loss": lambda row, made, runs: float(runs.validation(row["run"])["loss"].iloc[-1]),
    MEASURING: lambda row, made, runs: row["seconds_measure"] / (row["seconds_train"] + row["seconds_measure"]),
}


def together(findings: Sequence[Finding]) -> str:
    """Of several tests of one claim: one test against it contradicts it; else half of the tests of each measure must support it.

    A claim of two measures, such as faster and not worse, is thus not supported by one of them alone.
    """
    by_measure: dict[str, list[str]] = {}
    for each in findings:
        by_measure.setdefault(each.statement.of, []).append(each.verdict)
    if any(CONTRADICTED in verdicts for verdicts in by_measure.values()):
        return CONTRADICTED
    supported = all(2 * verdicts.count(SUPPORTED) >= len(verdicts) for verdicts in by_measure.values())
    return SUPPORTED if by_measure and supported else UNDECIDED


def varies(findings: Sequence[Finding]) -> str:
    """Whether an effect depends on the workload: the same comparison is clearly positive on one, clearly negative on another."""
    signs: dict[Statement, set[int]] = {}
    for each in findings:
        signs.setdefault(each.statement, set()).add(each.sign)
    return SUPPORTED if any(found >= {1, -1} for found in signs.values()) else UNDECIDED


def every(findings: Sequence[Finding]) -> str:
    """Of a claim about an order, or about the best of all: every test must support it."""
    verdicts = {each.verdict for each in findings}
    return CONTRADICTED if CONTRADICTED in verdicts else SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED


def mostly(findings: Sequence[Finding]) -> str:
    """Of a claim about most of several cases: half of the tests at least must support it, or contradict it, and not both."""
    verdicts = [each.verdict for each in findings]
    kinds = [kind for kind in (SUPPORTED, CONTRADICTED) if 2 * verdicts.count(kind) >= len(verdicts) > 0]
    return kinds[0] if len(kinds) == 1 else UNDECIDED
