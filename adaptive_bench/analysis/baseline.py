"""Which arm the others are held against."""

import math
from typing import Any

import pandas as pd

from adaptive_bench.schema import SLOTS

PREFERRED = "fixed_small"


def choose(records: pd.DataFrame, *, wanted: str | None = None) -> str:
    """The baseline's label: `wanted` if this workload has it, else fixed_small, else the smallest fixed size, else the first."""
    labels = records["label"].unique().tolist()
    if wanted in labels:
        return str(wanted)
    if PREFERRED in labels:
        return PREFERRED
    fixed = records[records["scheduler"] == "fixed"].to_dict("records")
    return str(min(fixed, key=_plainness)["label"] if fixed else labels[0])


def check(records: pd.DataFrame, *, wanted: str | None) -> None:
    """Refuse a baseline that no workload has."""
    labels = sorted(records["label"].unique())
    if wanted is not None and wanted not in labels:
        raise ValueError(f"no arm is labelled {wanted!r}; the baseline must be one of: {', '.join(labels)}")


def _plainness(record: dict[Any, Any]) -> tuple[bool, float, float, bool, str]:
    initial = (record["settings"].get(f"{slot}.initial") for slot in SLOTS)
    batch, block = (float(size) if isinstance(size, int | float) else math.inf for size in initial)
    return record["block_scheduler"] != "fixed", batch, block, record["lr_rule"] != "none", record["label"]
