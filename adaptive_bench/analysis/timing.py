"""Whether the seconds of different runs can be compared."""

import pandas as pd

from adaptive_bench.schema import TIMING, UNKNOWN_JOBS

UNKNOWN = "unknown"


def mixed_timing(records: pd.DataFrame) -> dict[str, list[str]]:
    """The conditions of timing that are not the same for all runs, or that nobody knows, with their values."""
    found = {name: values(records, name) for name in TIMING}
    # a run that was resumed elsewhere has several conditions of its own
    resumed = {part for text in records["timed_under"] if " | " in text for part in text.split(" | ")}
    found["conditions inside a run"] = sorted(resumed)
    return {name: several for name, several in found.items() if len(several) > 1 or several == [UNKNOWN]}


def values(records: pd.DataFrame, name: str) -> list[str]:
    """The different values of a column, as text."""
    found = records[name].astype(str)
    return sorted((found.replace(str(UNKNOWN_JOBS), UNKNOWN) if name == "jobs" else found).unique())
