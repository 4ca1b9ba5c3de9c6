"""The notes under a table: what is particular to it. What holds for every table is in EXPLANATIONS."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from adaptive_bench.schema import RATES, TIMING

from . import cells, verdict
from .arms import ENDED_BADLY
from .compare import WELCH
from .device import span
from .effects import explained
from .intervals import Interval
from .metrics import more_is_better, unit
from .tables import Table, mixed_versions
from .timing import mixed_timing, values

MOST_NAMED = 8  # arms in one list of a note
EXPLANATIONS = (
    "Brackets are 95 % intervals by Student's t: of accuracies on their logits and no narrower than the test set resolves; of "
    "perplexities, seconds and speed-ups on logarithms, so that means are geometric.",
    "Comparisons are within seeds (paired t), or Welch's where arms share too few seeds. A speed-up is baseline / arm.",
    "p are corrected by Holm over two tests an arm: the change of the metric and the speed-up that the verdict is about. "
    "Other speed-ups are outside the family and have no p.",
    "The cost to a target is read from each run's own validation curve, where it meets the target and still does at the next "
    "evaluation; between evaluations by a monotone cubic in log samples. Its distance from a straight line widens the interval.",
    "A crossing within the first two evaluations gives no speed-up (too early): evaluate more often at the start, such as "
    "evaluate_every={first:0.1,factor:1.3}.",
    "A run that diverged, failed or was interrupted is a miss, whatever it reached before. With misses the median cost is shown, "
    "the speed-up is that of means up to the budget (Kaplan-Meier), and the log-rank test compares the arms.",
    "detectable: the speed-up that the printed test finds with a mean power of 80 % in Holm's first step, and its interval, from "
    "that of the spread; with two pairs it cannot be told.",
    "Parts: speed-up in seconds = statistical (samples to the target) x hardware (seconds of training a sample) x overhead (what "
    "measuring and deciding add).",
    "B_half: a step of B samples takes a + b B seconds on a device, and B_half = a / b; 0 is a device on which larger batches "
    "save nothing. The interval holds the B_half at which equal times to the target are not rejected. Measuring is not in it.",
    "A published value differs if the 95 % interval of ours against it leaves out no difference, and agrees if all of it lies "
    "within the margin. A value without an interval of its own is taken for one more run: the interval is then a prediction's.",
    "Seconds are train + measure. Whole runs are those that are done; their samples, updates and seconds are geometric means.",
    *(f"{word}: {meaning.format(cost='samples, updates or seconds')}." for word, meaning in verdict.VERDICTS.items()),
)


def notes(table: Table) -> tuple[str, ...]:
    """The notes of a table, a short line each."""
    lines = [
        _question(table),
        _target(table),
        _seeds(table),
        _versions(table.records),
        _unfinished(table),
        _crossings(table),
        _inactive(table),
        *_effects(table),
        _break_even(table),
        *_published(table),
        _unpaired(table),
        _rates(table),
        _timing(table),
        _device(table),
        _physical(table.records),
        _by_length(table.records),
        _memory(table.records),
        _siblings(table),
        _dirty(table.records),
    ]
    return tuple(line for line in lines if line)


def _question(table: Table) -> str:
    absent = f" (no arm here is labelled {table.wanted!r})" if table.wanted not in (None, table.baseline) else ""
    margin = f"{table.margin:g} {'points' if table.percent else '%' if table.logs else ''}".strip()
    cost = table.name_of(table.endpoint)
    return f"Verdicts: {cost} to the target against {table.baseline}{absent}, margin {margin}; p over {table.family} tests."


def _target(table: Table) -> str:
    goal, name = table.goal, unit(table.records["metric"].iloc[0])
    if math.isnan(goal.target):
        return f"Target: none, because no run of {table.baseline} is done. Set one with --target."
    early = " Some untrained models meet it already." if any(row.costs["samples"].value.mean == 0 for row in table.rows) else ""
    if math.isnan(goal.fraction):
        return f"Target: validation {name} {goal.target:.6g}, set by hand.{early}"
    where = f"Target: validation {name} {goal.target:.6g}, {100 * goal.fraction:g} % of the way to {goal.baseline}'s median best"
    own = sorted(set(goal.seeds) & set(table.records["seed"]))
    if not goal.file:
        return f"{where} on the same seeds, which favours them; --targets takes one from others.{early}"
    shared = f", {_list(own)} of which are in this table" if own else ""
    return f"{where} on seeds {_list(goal.seeds)}{shared} ({goal.file}).{early}"


def _seeds(table: Table) -> str:
    seeds = sorted(set(table.records["seed"]))
    missing = "".join(f" {row.label} lacks {_list(row.missing)}." for row in table.rows if row.missing)
    alone = " One seed gives no interval: at least two are needed, five are usual." if len(seeds) == 1 else ""
    return f"Seeds: {_list(seeds)}.{missing}{alone}"


def _versions(records: pd.DataFrame) -> str:
    mixed = mixed_versions(records)
    named = "; ".join(f"{name} {_list(found)}" for name, found in mixed.items())
    return f"Runs of different versions are pooled: {named}." if mixed else ""


def _unfinished(table: Table) -> str:
    """The runs that did not end well, and the arms of which nothing is known but that."""
    counted = [
        f"{count} {status} of {row.label}"
        for row in table.rows
        for status, count in row.counts.items()
        if count and status in ENDED_BADLY
    ]
    running = sum(row.counts["running"] for row in table.rows)
    empty = [row.label for row in table.rows if not row.n]
    lines = [
        f"Misses, with no final value: {_some(counted)}." if counted else "",
        f"Still running and left out: {running}." if running else "",
        f"No run is done of {_list(empty)}." if empty else "",
    ]
    return " ".join(line for line in lines if line)


def _crossings(table: Table) -> str:
    """What is particular about when the target was crossed."""
    kinds = {
        "within the first two evaluations (too early for a speed-up)": "early",
        "at the last evaluation, unconfirmed": "unconfirmed",
        "for the first time earlier than counted, and below it again": "first",
    }
    found = [
        f"{what}: {_some([f'{getattr(row, name)} of {row.label}' for row in table.rows if getattr(row, name)])}"
        for what, name in kinds.items()
        if any(getattr(row, name) for row in table.rows)
    ]
    return f"Crossed {'; '.join(found)}." if found else ""


def _inactive(table: Table) -> str:
    found = [f"{row.inactive} of {row.reached} of {row.label}" for row in table.rows if row.inactive]
    return f"Crossed before they did anything else than the baseline: {_some(found)}." if found else ""


def _effects(table: Table) -> list[str]:
    """A line for each arm that has controls: its effects, and what they say of its gain."""
    maximise = more_is_better(table.records, metric=table.metric)
    lines = []
    for row in table.rows:
        own = {effect.name: effect for effect in table.effects if effect.arm == row.label}
        if own and row.change is not None:
            parts = [f"{effect.name} {_times(effect.speedup.effect)}, {table.change(effect.change)}" for effect in own.values()]
            said = explained(row, own, maximise=maximise, endpoint=table.endpoint, baseline=table.baseline)
            lines.append(f"{said}. {row.label} against its controls: {'; '.join(parts)}.")
    return lines


def _times(effect: Interval) -> str:
    return "no speed-up that could be told" if math.isnan(effect.mean) else f"{cells.speedup(effect)} times as fast"


def _break_even(table: Table) -> str:
    found = [str(each) for each in table.break_evens if each.shown]  # on some device there is a difference
    if not found:
        return ""
    if alike := [each.label for each in table.break_evens if not each.shown]:
        found.append(f"no difference at any B_half of {_some(alike)}")
    known = {each.label for each in table.break_evens}
    if untimed := [row.label for row in table.rows if row.change and not row.control_of and row.label not in known]:
        found.append(f"no time to the target, or not yet different: {_some(untimed)}")
    here = table.half_saturation
    device = f"; {table.device.device}: {here:.3g}" if table.device and not math.isnan(here) else ""
    said = "In time, by the device's half-saturation size B_half, not corrected for several arms"
    return f"{said}: {'; '.join(found)}{device}."


def _published(table: Table) -> list[str]:
    """A line a source."""
    found = [(row, *each) for row in table.rows for each in table.held(row)]
    if not found:
        return []
    ratio = found[0][1].metric == "perplexity"
    versus = "ours/published" if ratio else "ours - published"
    lines: dict[str, list[str]] = {}
    for row, claim, ours in found:
        effect = Interval(mean=ours.difference, low=ours.low, high=ours.high, n=row.n)
        shown = cells.interval(effect, decimals=3 if ratio else 2, sign=not ratio)
        lines.setdefault(claim.source, []).append(f"{row.label} {cells.claim(claim)}, {versus} {shown}, {ours.verdict}")
    for source, parts in lines.items():
        parts += dict.fromkeys(claim.note for _, claim, _ in found if claim.source == source and claim.note)
    return [f"Published, {source}: {'; '.join(parts)}." for source, parts in lines.items()]


def _unpaired(table: Table) -> str:
    arms = [row.label for row in table.rows if row.change and row.change.effect.n and row.change.method == WELCH]
    return (
        f"Welch's interval instead of pairs, because too few seeds are shared with the baseline: {_list(arms)}." if arms else ""
    )


def _rates(table: Table) -> str:
    """Whether arms were given their learning rates with the same care; a control has that of its arm."""
    controls = {row.label for row in table.rows if row.control_of}
    own = table.records[~table.records["label"].isin(controls)]
    tuned = {str(label): str(text) for label, text in zip(own["label"], own["tuning"], strict=True)}
    if not any(tuned.values()):
        rates = own["settings"].map(lambda settings: settings.get("optimizer.lr")).dropna().unique().tolist()
        if len(tuned) < 2 or not rates:
            return ""
        return f"Learning rates: {_list(sorted(rates))}{' for all arms' if len(rates) == 1 else ''}, not tuned."
    if len(set(tuned.values())) == 1:
        return f"Learning rates: tuned, {next(iter(tuned.values()))} each."
    least = min(tuned.values())
    more = [label for label, text in tuned.items() if text != least]
    count, _, seeds = least.partition(RATES)
    if count and {tuned[label] for label in more} == {f"{int(count) + 1}{RATES}{seeds}"}:
        return f"Learning rates: tuned, {least} each, and one rate more where the best one was at an edge: {_some(more)}."
    care = [
        f"{text or 'not'} for {_some([label for label in tuned if tuned[label] == text])}"
        for text in dict.fromkeys(tuned.values())
    ]
    return f"Learning rates: tuned unequally: {'; '.join(care)}."


def _timing(table: Table) -> str:
    mixed = mixed_timing(table.records)
    if not mixed:
        return f"Timed under: {'; '.join(f'{name} {_list(values(table.records, name))}' for name in TIMING)}."
    named = "; ".join(f"{name} ({_list(several)})" for name, several in mixed.items())
    if table.timed:
        return f"Seconds were timed under mixed or unknown conditions and are not comparable: {named}."
    return f"Seconds are left out, because they were timed under mixed or unknown {named}; --allow-mixed-timing prints them."


def _device(table: Table) -> str:
    found = table.device
    if found is None:
        return ""
    blocks = f", blocks {span(found.blocks)}" if found.blocks != (1,) else ""
    known = f"its own times where {_list(sorted(found.statistics))} are measured, else " if found.measured is not None else ""
    return (
        f"Replayed seconds: each step takes what {found.file} has for its size on {found.device} ({found.date}; batches "
        f"{span(found.batches)}{blocks}); for measuring, {known}the share of training that it had in the run."
    )


def _physical(records: pd.DataFrame) -> str:
    """The arms whose batches were split before they went through the model."""
    split = records[records["split_steps"] > 0]
    if split.empty:
        return ""
    arms = [
        f"{label} (at most {cells.number(float(arm['physical_batch'].max()), decimals=0)} rows, "
        f"{100 * arm['split_steps'].sum() / arm['steps'].sum():.0f} % of the steps)"
        for label, arm in split.groupby("label", sort=False)
    ]
    return f"Batches went through the model in pieces, which BatchNorm sees one by one: {_list(arms)}."


def _by_length(records: pd.DataFrame) -> str:
    """The arms that measured noise on batches whose sentences share a length."""
    grouped = [settings.get("batching.group") in ("sorted", "buckets") for settings in records["settings"]]
    noise = records["statistics"].astype(str).str.contains("grad_variance|grad_sq_norm|mean_sample_sq_norm|microbatch_ratio")
    arms = records.loc[noise & pd.Series(grouped, index=records.index), "label"].unique()
    if not len(arms):
        return ""
    return (
        f"Biased noise scale: the sentences of a batch share a length in {_list(list(arms))}, so statistics leave out how "
        "gradients differ between lengths, and show less noise than random batches have."
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


def _siblings(table: Table) -> str:
    if len(table.rows) > 1 or not table.siblings:
        return ""
    return f"One arm alone; settings that all arms must share keep it apart from {'; '.join(table.siblings)}."


def _dirty(records: pd.DataFrame) -> str:
    count = int(np.sum(records["dirty"].fillna(False).astype(bool)))
    return f"{count} of {len(records)} runs were made from a working tree with uncommitted changes." if count else ""


def _list(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)


def _some(values: Sequence[str]) -> str:
    """Of many arms the first ones; the table has them all."""
    more = len(values) - MOST_NAMED
    return _list(values) if more <= 1 else f"{_list(values[:MOST_NAMED])} and {more} more"
