"""What a table says of each arm, as a sentence in plain words."""

import math

from . import cells, verdict
from .arms import ENDED_BADLY, ArmSummary
from .intervals import Interval
from .tables import Table


def sentences(table: Table) -> list[str]:
    """One sentence an arm, in the order of the rows."""
    return [sentence(table, row) for row in table.rows]


def sentence(table: Table, row: ArmSummary) -> str:
    """The verdict on an arm with the numbers that it rests on; a metric's change is said only where it was judged."""
    cost = table.name_of(table.endpoint)
    goal = f"the target ({cells.number(table.target, decimals=table.decimals)})"
    if row.verdict == verdict.BASELINE:
        return f"{row.label} is the baseline: {_reached(table, row, cost=cost, goal=goal)}."
    if row.verdict == verdict.MISSED:
        ends = [f"{row.counts[status]} {status}" for status in ENDED_BADLY if row.counts[status]]
        missed = f"{row.started - row.reached} of {row.started} runs" + (f" ({', '.join(ends)})" if ends else "")
        return f"{row.label} missed {goal} in {missed}{_up_to_budget(table, row)}. {_quality(table, row)}."
    if row.verdict == verdict.NOT_YET:
        return (
            f"{row.label} cannot be judged at {goal}: {row.inactive} of its {row.reached} runs reached it before they did "
            f"anything that {table.baseline} does not. Set a target farther on."
        )
    if row.verdict == verdict.CANNOT_TELL:
        return f"{row.label} cannot be judged: {_reason(table, row)}."
    effect = row.speedups[table.endpoint].effect
    budget = " up to the budget" if row.speedups[table.endpoint].restricted else ""
    ratio = f"{cells.speedup(effect)}{budget}"
    if row.verdict == verdict.NO_DIFFERENCE:
        found = _detectable(row.detectable) + _corrected(table, row)
        return f"{row.label} shows no difference in {cost} to {goal}: speed-up {ratio}{found}. {_quality(table, row)}."
    if row.verdict == verdict.SLOWER:
        more = cells.speedup(_inverse(effect))
        needs = f"{more} times the {cost} of {table.baseline}"
        return f"{row.label} is slower: it needs {needs} to reach {goal}. {_quality(table, row)}."
    judged = {
        verdict.FASTER_NOT_WORSE: f"not worse by {_margin(table)} or more",
        verdict.FASTER_UNDECIDED: f"and whether it ends worse by {_margin(table)} is undecided (corrected p {row.not_worse:.2g})",
        verdict.FASTER_WORSE: "but it ends worse",
    }[row.verdict]
    return f"{row.label} is faster to {goal}, {judged}: speed-up in {cost} {ratio}. {_quality(table, row)}."


def _reached(table: Table, row: ArmSummary, *, cost: str, goal: str) -> str:
    if not row.started:
        return "no run of it has ended"
    if math.isnan(table.target):
        return "no run of it is done, so there is no target"
    spent = row.costs[table.endpoint]
    missed = row.started - row.reached
    if not row.reached:
        return f"none of its {row.started} runs reached {goal}"
    typical = "the median is " if missed else ""
    shown = cells.number(
        spent.value.mean, decimals=cells.decimals(spent.value.mean, digits=3) if table.endpoint == "seconds" else 0
    )
    after = f", {typical}{shown} {cost}" if math.isfinite(spent.value.mean) else ""
    return f"{row.reached} of {row.started} runs reached {goal}{after}"


def _up_to_budget(table: Table, row: ArmSummary) -> str:
    """With misses, the speed-up is one of means that are cut off at the budget."""
    effect = row.speedups[table.endpoint].effect
    if row.idle or not math.isfinite(effect.mean):
        return ""
    return f"; up to the budget, its speed-up is {cells.speedup(effect)}{_corrected(table, row)}"


def _corrected(table: Table, row: ArmSummary) -> str:
    """Where an interval says more than the corrected test."""
    effect, p = row.speedups[table.endpoint].effect, row.speedup_holm
    if not (effect.high < 1 or effect.low > 1) or not p >= verdict.SIGNIFICANT:
        return ""
    return f"; its interval leaves out 1, but not after the correction for {table.family} tests (p {p:.2g})"


def _reason(table: Table, row: ArmSummary) -> str:
    if not row.started:
        return "no run of it has ended"
    if math.isnan(table.target):
        return "there is no target"
    if row.early or table.rows[0].early:
        return "the target is crossed within the first two evaluations, too early to say where"
    if table.rows[0].reached < table.rows[0].started:
        return f"{table.baseline} missed the target, and too little is left to compare"
    if min(row.n, table.rows[0].n) > 1:
        return "its speed-up is the same in every pair, so that there is nothing to test"
    return "two runs of each arm are the least that gives an interval"


def _quality(table: Table, row: ArmSummary) -> str:
    assert row.change is not None
    if math.isnan(row.change.effect.mean):
        return f"Nothing is known of its {table.header}"
    value = table.change(row.change)
    if table.logs:
        return f"{table.header.capitalize()} is {value} times that of {table.baseline}"
    return f"{table.header.capitalize()} changes by {value}"


def _detectable(effect: Interval) -> str:
    return f", where one of {cells.number(effect.mean, decimals=2)} would have been found" if effect.mean < 100 else ""


def _margin(table: Table) -> str:
    return f"{table.margin:g}" + (" points" if table.percent else " %" if table.logs else "")


def _inverse(effect: Interval) -> Interval:
    return Interval(mean=1 / effect.mean, low=1 / effect.high, high=1 / effect.low, n=effect.n)
