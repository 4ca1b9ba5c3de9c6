"""When an arm first did anything that the baseline did not."""

import math
from typing import Any

import numpy as np
import pandas as pd

from .labels import ARM_SETTINGS
from .read import Runs

SIZES = ["batch_size_granted", "block_size_granted"]
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
    for seed, record in done.iterrows():
        other = usual.loc[seed] if seed in usual.index else usual.iloc[0]
        differs = _telling(record["settings"]) != _telling(other["settings"])
        found[seed] = 0.0 if differs else first_difference(runs.trace(record["run"]), runs.trace(other["run"]))
    return pd.Series(found, dtype=float)


def first_difference(trace: pd.DataFrame, other: pd.DataFrame) -> float:
    """The samples trained before the first step whose granted sizes differ from those of the other run at the same sample.

    Traces may have a row a step or a row for each constant part. inf if sizes are equal to where the shorter run ends.
    """
    ends = [frame["samples"].to_numpy(dtype=float) for frame in (trace, other)]
    if not all(len(end) for end in ends):
        return math.inf
    starts = np.unique(np.concatenate([[0.0], *ends]))
    starts = starts[starts < min(end[-1] for end in ends)]
    # the size in use after `start` samples is that of the first row which ends beyond
    sizes = [
        frame[SIZES].to_numpy(dtype=float)[np.searchsorted(end, starts, side="right")]
        for frame, end in zip((trace, other), ends, strict=True)
    ]
    differing = np.flatnonzero((sizes[0] != sizes[1]).any(axis=1))
    return float(starts[differing[0]]) if len(differing) else math.inf


def _telling(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.partition(".")[0] in ARM_SETTINGS - SILENT}
