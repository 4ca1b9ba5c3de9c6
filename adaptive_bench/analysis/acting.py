"""When an arm first did anything that the baseline did not."""

import math
from typing import Any

import numpy as np
import pandas as pd

from .labels import ARM_SETTINGS
from .read import Runs

GRANTED = ["batch_size_granted", "block_size_granted"]
# the parts of an arm that change nothing until a size changes; every other setting acts from the first sample on
SILENT = frozenset({"arm", "seed", "scheduler", "block_scheduler", "batch_size", "block_size", "lr_rule", "estimator", "logger"})


def acted(runs: Runs, *, records: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series:
    """By seed, the samples after which a run of an arm first differs from the baseline's of its seed (or of another); inf: never.

    Runs differ where their sizes do, or from the start if another setting of the arm differs, such as the optimiser.
    """
    done, usual = (frame[frame["status"] == "done"].set_index("seed") for frame in (records, baseline))
    if done.empty or usual.empty:
        return pd.Series(dtype=float)
    found = {}
    for seed, record in done.to_dict("index").items():
        other = usual[usual.index == seed].iloc[0] if seed in usual.index else usual.iloc[0]
        differs = _telling(record["settings"]) != _telling(other["settings"])
        found[seed] = 0.0 if differs else first_difference(runs.trace(record["run"]), runs.trace(other["run"]))
    return pd.Series(found, dtype=float)


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


def _telling(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.partition(".")[0] in ARM_SETTINGS - SILENT}
