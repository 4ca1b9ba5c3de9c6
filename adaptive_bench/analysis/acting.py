"""Where a run first acted otherwise than another one."""

import math

import numpy as np
import pandas as pd

GRANTED = ["batch_size_granted", "block_size_granted"]


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
