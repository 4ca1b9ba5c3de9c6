"""When an arm first did anything that the baseline did not."""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from adaptive_bench.schema import FIRST

from .labels import ARM_SETTINGS
from .read import Runs

Record: TypeAlias = Mapping[str, Any]
GRANTED = ["batch_size_granted", "block_size_granted"]
STEPS = ("samples", *GRANTED)
# the parts of an arm that change nothing until a size changes, or never; every other setting acts from the first sample on
SILENT = frozenset({"arm", "seed", "scheduler", "block_scheduler", "batch_size", "block_size", "lr_rule", "estimator", "logger"})
TELLING = ARM_SETTINGS - SILENT


def acted(runs: Runs, record: Record, other: Record) -> float:
    """The samples after which a run of an arm first differs from one of the baseline; inf: never.

    Runs differ where their sizes do, and those with different rules of the learning rate where the sizes of one change; or from
    the start if another setting of the arm differs, such as the optimiser.
    """
    if _of(record["settings"], TELLING) != _of(other["settings"], TELLING):
        return 0.0
    follow_alike = _of(record["settings"], {"lr_rule"}) == _of(other["settings"], {"lr_rule"})
    both = [[each.get(name, math.nan) for name in FIRST] for each in (record, other)]
    if not any(map(math.isnan, itertools.chain(*both))):  # records of older versions do not say
        (*sizes, change), (*others, other_change) = both
        if sizes != others:
            return 0.0
        if not follow_alike or change != other_change or math.isinf(change):
            return float(min(change, other_change))
    traces = [runs.trace(each["run"], STEPS) for each in (record, other)]
    found = first_difference(*traces)
    return found if follow_alike else min(found, *map(first_change, traces))


def first_change(trace: pd.DataFrame) -> float:
    """The samples trained before the first step whose granted sizes are not those of the first one; inf: none."""
    granted = trace[GRANTED].to_numpy()
    changed = (granted != granted[:1]).any(axis=1)
    return float(trace["samples"].iloc[int(changed.argmax()) - 1]) if changed.any() else math.inf


def first_difference(trace: pd.DataFrame, other: pd.DataFrame) -> float:
    """The samples trained before the first step whose granted sizes differ from those of `other` at the same samples.

    Each trace is a step function: the sizes of row k hold for the samples in (samples_{k-1}, samples_k]. A row may be a step or a
    piece of steps of one size. inf if the sizes are the same up to where the shorter run ends.
    """
    ends, other_ends = trace["samples"].to_numpy(), other["samples"].to_numpy()
    shorter = min(ends[-1:].sum(), other_ends[-1:].sum())  # 0 for an empty trace
    at = np.union1d(ends, other_ends)
    at = at[at <= shorter]
    rows, other_rows = np.searchsorted(ends, at), np.searchsorted(other_ends, at)
    differ = np.zeros(len(at), dtype=bool)
    for name in GRANTED:
        differ |= trace[name].to_numpy()[rows] != other[name].to_numpy()[other_rows]
    if not differ.any():
        return math.inf
    first = int(differ.argmax())
    return float(at[first - 1]) if first else 0.0


def _of(settings: dict[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """The settings of these parts of an arm."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] in parts}
