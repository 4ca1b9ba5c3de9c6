"""The notes under a table: how its numbers were computed, and what they can and cannot show."""

import math
from collections.abc import Sequence

import pandas as pd

from adaptive_bench.schema import TIMING

from . import cells
from .arms import ArmSummary
from .compare import WELCH
from .intervals import Interval
from .metrics import unit
from .published import MARGIN, held
from .tables import Table
from .timing import mixed_timing, values


def notes(table: Table) -> tuple[str, ...]:
    """The notes of a table, one sentence or a few each."""
    lines = [
        _baseline(table),
        _target(table),
        _seeds(table),
        _intervals(table),
        *_published(table),
        _totals(table),
        _diverged(table),
        _misses(table),
        _unpaired(table),
        _timing(table),
        _physical(table.records),
        _by_length(table.records),
        _memory(table.records),
        _detectable(table),
        _dirty(table.records),
    ]
    return tuple(line for line in lines if line)


def _baseline(table: Table) -> str:
    absent = f" No arm of this workload is labelled {table.wanted!r}." if table.wanted not in (None, table.baseline) else ""
    return f"Baseline: {table.baseline}.{absent}"


def _target(table: Table) -> str:
    name = unit(table.records["metric"].iloc[0])
    if math.isnan(table.target):
        return f"Target: none, because no run of {table.baseline} is done. Set one with --target."
    early = " Some untrained models meet it already: their cost is 0, which has no ratio." if _met_untrained(table) else ""
    if table.fraction is None:
        return f"Target: validation {name} of {table.target:.6g}, set by hand.{early}"
    scale = " on logarithms" if table.records["metric"].iloc[0] == "perplexity" else ""
    return (
        f"Target: validation {name} of {table.target:.6g}, which is {100 * table.fraction:g} % of the way{scale} from the "
        f"untrained model to the median of the best values of {table.baseline}. It comes from the seeds of this table and is "
        f"therefore biased in their favour; give a target from other seeds with --target.{early}"
    )


def _met_untrained(table: Table) -> bool:
    return any(row.costs["samples"].value.mean == 0 for row in table.rows)


def _seeds(table: Table) -> str:
    seeds = sorted(set(table.records["seed"]))
    missing = "".join(f" {row.label} lacks {_list(row.missing)}." for row in table.rows if row.missing)
    alone = " One seed gives no interval: at least two are needed, five are usual." if len(seeds) == 1 else ""
    return f"Seeds: {len(seeds)} ({_list(seeds)}).{missing}{alone}"


def _intervals(table: Table) -> str:
    change = "The ratio to the baseline" if table.logs else "The difference"
    scale = " on logarithms (the mean is geometric)" if table.logs else ""
    return (
        f"Brackets: 95 % intervals by Student's t{scale}. {change} and the speed-ups compare runs of the same seed (paired t), a "
        "speed-up on log ratios: baseline / arm, as a ratio of geometric means. p is corrected by Holm over the table's arms."
    )


def _published(table: Table) -> list[str]:
    """How claims are judged, then a line a source."""
    found = [(row, *each) for row in table.rows for each in held(row.published, records=table.records, label=row.label)]
    if not found:
        return []
    metric = found[0][1].metric
    ratio = metric == "perplexity"
    versus, none = ("ours/published", 1) if ratio else ("ours - published", 0)
    margin = f"{MARGIN[metric]:g} {'%' if ratio else 'points'}"
    lines: dict[str, list[str]] = {}
    for row, claim, ours in found:
        effect = Interval(mean=ours.difference, low=ours.low, high=ours.high, n=row.n)
        shown = cells.interval(effect, decimals=3 if ratio else 2, sign=not ratio)
        lines.setdefault(claim.source, []).append(f"{row.label} {cells.claim(claim)}, {versus} {shown}, {ours.verdict}")
    for source, parts in lines.items():
        parts += dict.fromkeys(claim.note for _, claim, _ in found if claim.source == source and claim.note)
    return [
        f"Published values: {versus} differs if its 95 % interval leaves out {none}, agrees if all of it lies within {margin}. A "
        "value that has no interval of its own is taken for one more run (or mean of runs): the interval is then a prediction's.",
        *(f"Published, {source}: {'; '.join(parts)}." for source, parts in lines.items()),
    ]


def _totals(table: Table) -> str:
    *first, last = table.totals.values()
    names = f"{', '.join(first)} and {last}" if first else last
    seconds = ", seconds with an interval on logarithms" if "seconds" in table.totals else ""
    return f"{names.capitalize()} are what whole runs spent, of those that are done (geometric means{seconds})."


def _diverged(table: Table) -> str:
    found = [f"{row.diverged} of {row.label}" for row in table.rows if row.diverged]
    if not found:
        return ""
    return f"Diverged runs: {', '.join(found)}. They have no final value: means are those of the others. Each counts as a miss."


def _misses(table: Table) -> str:
    if all(cost.complete for row in table.rows for cost in row.costs.values()):
        return ""
    return (
        "Not every run reached the target. For an arm with misses the median cost is shown (a miss counts as inf), and "
        "no speed-up is given (-). Misses are neither dropped nor filled in."
    )


def _unpaired(table: Table) -> str:
    arms = [row.label for row in table.rows if WELCH in _methods(row)]
    if not arms:
        return ""
    return f"Welch's interval instead of pairs, because too few seeds are shared with the baseline: {_list(arms)}."


def _methods(row: ArmSummary) -> set[str]:
    return {each.method for each in (row.change, *row.speedups.values()) if each}


def _timing(table: Table) -> str:
    conditions = "; ".join(f"{name} {_list(values(table.records, name))}" for name in TIMING)
    mixed = mixed_timing(table.records)
    if not mixed:
        return f"Seconds are train + measure. Timed under: {conditions}."
    named = "; ".join(f"{name} ({_list(several)})" for name, several in mixed.items())
    if table.timed:
        return f"Seconds are train + measure, timed under mixed or unknown conditions and so not comparable: {named}."
    return (
        f"Seconds are left out, because they were timed under mixed or unknown {named}. --allow-mixed-timing prints them anyway."
    )


def _detectable(table: Table) -> str:
    if not table.timed or len(table.rows) == 1:
        return ""
    found = [f"{row.detectable:.3g}x for {row.label}" for row in table.rows[1:] if not math.isnan(row.detectable)]
    shown = ", ".join(found) or "unknown (no arm has two or more pairs that all reached the target)"
    return (
        f"Smallest speed-up in seconds that could have been detected (80 % power, two-sided 5 %, first step of Holm over "
        f"{len(table.rows) - 1}, from the observed spread of the log ratios): {shown}."
    )


def _physical(records: pd.DataFrame) -> str:
    """The arms whose batches were split before they went through the model."""
    split = records[records["split_steps"] > 0]
    if split.empty:
        return ""
    arms = [
        f"{label} at most {cells.number(float(arm['physical_batch'].max()), decimals=0)} rows at once, with batches split in "
        f"{100 * arm['split_steps'].sum() / arm['steps'].sum():.0f} % of the steps"
        for label, arm in split.groupby("label", sort=False)
    ]
    return (
        "Physical batch, where it was smaller than the batch (for memory, for micro-batches that are measured, among processes)"
        f": {'; '.join(arms)}. The gradient is that of the whole batch, but BatchNorm normalises by the statistics of what goes "
        "through at once."
    )


def _by_length(records: pd.DataFrame) -> str:
    """The arms that measured noise on batches whose sentences share a length."""
    grouped = [settings.get("batching.group") in ("sorted", "buckets") for settings in records["settings"]]
    noise = records["statistics"].str.contains("grad_variance|grad_sq_norm|mean_sample_sq_norm|microbatch_ratio")
    arms = records.loc[noise & pd.Series(grouped, index=records.index), "label"].unique()
    if not len(arms):
        return ""
    return (
        f"Biased noise scale: the sentences of a batch share a length in {_list(list(arms))}, so the statistics that the "
        "scheduler reads leave out how gradients differ between lengths, and show less noise than random batches have."
    )


def _memory(records: pd.DataFrame) -> str:
    """Peaks of memory against its limit, where they were read, and the arms whose sizes follow the machine."""
    read = records[records["memory_used"].notna()]
    if read.empty:
        return ""
    arms = [
        f"{label} at most {100 * arm['memory_used'].max():.0f} % of it, limit changed {int(arm['memory_changes'].max())} times, "
        f"memory ran out {int(arm['memory_ran_out'].max())} times (the most of any run)"
        for label, arm in read.groupby("label", sort=False)
    ]
    follow = records.loc[records["scheduler"] == "memory", "label"].unique()
    more = f" The sizes of {_list(list(follow))} follow the machine's memory: elsewhere they are others." if len(follow) else ""
    return f"Memory: {'; '.join(arms)}.{more}"


def _dirty(records: pd.DataFrame) -> str:
    count = int(records["dirty"].astype(bool).sum())
    return f"{count} of {len(records)} runs were made from a working tree with uncommitted changes." if count else ""


def _list(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
