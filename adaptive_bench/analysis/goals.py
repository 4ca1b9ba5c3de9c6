"""The target of each workload, and the small file that holds targets from other seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from adaptive_bench.files import replacing

from . import baseline as baselines
from .read import Runs
from .targets import levels

FRACTION = 0.95
RANGES = {"accuracy": (0.0, 100.0), "perplexity": (1.0, math.inf)}
KEYS = ("workload", "title", "metric", "target", "baseline", "fraction", "seeds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A validation value to reach, and where it comes from.

    It lies `fraction` of the way between the untrained model and the median best of `baseline` on `seeds`; without one, the user
    set it. `file` is the file it was read from.
    """

    target: float
    baseline: str = ""
    fraction: float = math.nan
    seeds: tuple[int, ...] = ()
    file: str = ""

    @classmethod
    def by_hand(cls, target: float, *, metric: str) -> "Goal":
        """Raises ValueError for a target that the metric cannot have."""
        return cls(target=in_range(target, metric=metric))


def in_range(target: float, *, metric: str) -> float:
    low, high = RANGES.get(metric, (-math.inf, math.inf))
    if not (math.isfinite(target) and low <= target <= high):
        raise ValueError(f"a target of {target:g} for the validation {metric}; a number from {low:g} to {high:g} is expected")
    return target


def goal(runs: Runs, *, baseline: pd.DataFrame, fraction: float = FRACTION) -> Goal:
    """The target that a baseline's records set; nan if none of its runs is done."""
    done = baseline[baseline["status"] == "done"]
    return Goal(
        target=levels(runs, baseline=baseline, fractions=[fraction])[fraction],
        baseline=baseline["label"].iloc[0],
        fraction=fraction,
        seeds=tuple(sorted(int(seed) for seed in done["seed"])),
    )


def write_goals(runs: Runs, path: Path, *, baseline: str | None = None, fraction: float = FRACTION) -> list[str]:
    """Write the targets of all workloads of a results folder; returns a line for each. Raises ValueError."""
    from omegaconf import OmegaConf

    if not 0 < fraction <= 1:
        raise ValueError(f"a fraction of {fraction:g}; a number above 0 and up to 1 is expected")
    baselines.check(runs.records, wanted=baseline)
    entries, lines = [], []
    for workload, records in runs.records.groupby("workload", sort=False):
        chosen = baselines.choose(records, wanted=baseline)
        found = goal(runs, baseline=records[records["label"] == chosen], fraction=fraction)
        title, metric = records["title"].iloc[0], records["metric"].iloc[0]
        if math.isnan(found.target):
            raise ValueError(f"{title}: no run of {chosen} is done, so it sets no target; let one end, or name --baseline")
        entries.append(
            {
                "workload": workload, "title": title, "metric": metric, "target": float(f"{found.target:.6g}"),
                "baseline": chosen, "fraction": fraction, "seeds": list(found.seeds),
            }
        )  # fmt: skip
        lines.append(f"{title}: validation {metric} of {found.target:.6g}, from the seeds {', '.join(map(str, found.seeds))}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(OmegaConf.to_yaml(OmegaConf.create(entries)))
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); name a file in a folder where you may write") from error
    return lines


def read_goals(path: str | Path) -> dict[str, Goal]:
    """Targets by workload from a file that `write_goals` wrote. Raises ValueError, with the file and the entry."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        entries = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: no readable yaml ({' '.join(str(error).split())}); a list of targets is expected") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path}: it holds no list; `adaptive-bench targets RESULTS -o FILE` writes one")
    return dict(_goal(entry, name=f"{path}: entry {at}", file=str(path)) for at, entry in enumerate(entries, start=1))


def _goal(entry: Any, *, name: str, file: str) -> tuple[str, Goal]:
    if not isinstance(entry, Mapping) or sorted(entry) != sorted(KEYS):
        found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else repr(entry)
        raise ValueError(f"{name} has {found}; exactly {', '.join(KEYS)} are expected")
    numbers, seeds = (entry["target"], entry["fraction"]), entry["seeds"]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        raise ValueError(f"{name}: target is {numbers[0]!r} and fraction {numbers[1]!r}; numbers are expected")
    if not (isinstance(seeds, list) and all(type(seed) is int for seed in seeds)):
        raise ValueError(f"{name}: seeds is {seeds!r}; a list of whole numbers is expected")
    try:
        target = in_range(float(entry["target"]), metric=str(entry["metric"]))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return str(entry["workload"]), Goal(
        target=target, baseline=str(entry["baseline"]), fraction=float(entry["fraction"]), seeds=tuple(seeds), file=file
    )
