"""What a scheduler's settings name: the trajectory of a finished run and the calibration of an architecture.

The files are read here, once a run. A scheduler gets the values.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from omegaconf import OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from adaptive_bench import compact
from adaptive_bench.schedulers.calibration import Calibration, checked_weights
from adaptive_bench.schedulers.epoch_signals import SIGNALS
from adaptive_bench.schedulers.trajectory import Trajectory
from adaptive_bench.schema import stable_names
from adaptive_bench.validation import checked, one_of

Values: TypeAlias = dict[str, Trajectory | Calibration]  # by setting
Recorded: TypeAlias = Mapping[str, Values]  # by slot
EXPECTED = "the digest of a finished run, its folder or its trace.parquet is expected"
THRESHOLDS = ("confidence", "stability")
# settings that say how the files are read, and of which arm a control is; no scheduler takes them
READ_WITH = ("results", "column", "architecture", "of")


def recorded(scheduler: Mapping[str, Any], *, seed: int) -> Values:
    """The values for `trace` and `calibration` of a scheduler's settings, for a run of this seed.

    Raises ValueError for files that cannot be used.
    """
    found: Values = {}
    followed = scheduler.get("schedule")
    if isinstance(followed, Mapping) and followed.get("trace") is not None:
        raise ValueError(
            f"schedule.trace={followed['trace']}: a schedule sees nothing but the clock; give the trace to the control itself"
        )
    if "trace" in scheduler and (scheduler["trace"] is not None or "schedule" not in scheduler):
        read = partial(read_trajectory, results=scheduler["results"], column=scheduler["column"])
        trace = scheduler["trace"]
        found["trace"] = _of_seed(trace, seed=seed, read=read) if isinstance(trace, Mapping) else read(trace)
    if scheduler.get("calibration") is not None:
        found["calibration"] = read_calibration(
            scheduler["calibration"], architecture=scheduler["architecture"], grad_source=scheduler["grad_source"]
        )
    return found


def _of_seed(traces: Mapping[Any, Any], *, seed: int, read: Callable[[Any], Trajectory]) -> Trajectory:
    """The trajectory that a run of this seed follows, of `traces` by seed. All runs of such a mapping are of one arm."""
    by_seed = {str(key): value for key, value in traces.items()}
    if str(seed) not in by_seed:
        raise ValueError(f"trace: it names no run for seed {seed}, only for {', '.join(by_seed)}; take these seeds, or add one")
    found = {key: read(value) for key, value in by_seed.items()}
    whole = hashlib.sha256(repr(sorted((key, each.digest()) for key, each in found.items())).encode()).hexdigest()[:16]
    return replace(found[str(seed)], family=whole)


def calibration_samples(found: Recorded) -> float:
    """The samples trained for the calibrations of a run, each counted once; 0 without one, nan if a file does not say."""
    used = [value for values in found.values() for value in values.values() if isinstance(value, Calibration)]
    return float(sum({each.digest(): each.samples for each in used}.values()))


def read_trajectory(trace: str | Path | None, *, results: str | Path, column: str) -> Trajectory:
    """The trajectory of a finished run: its digest in `results`, its folder or its trace.parquet. Raises ValueError."""
    one_of("column", column, ("batch_size", "block_size"))
    path = _path(trace, results=Path(results))
    served, sizes, ends = _columns(path, (column, f"{column}_granted", "samples"))
    samples = [after - before for before, after in pairwise([0, *ends])]
    if not sizes:
        raise ValueError(f"trace={trace}: {path} holds no step (a run that diverged at once has none); name another run")
    if min(sizes) < 1 or min(samples) < 1 or served[-1] > sizes[-1]:
        raise ValueError(
            f"trace={trace}: {path} is no trace, its samples must ascend and its sizes be 1 or more; name another run"
        )
    return Trajectory.of(sizes, samples, left=served[-1] / sizes[-1])


def _path(trace: str | Path | None, *, results: Path) -> Path:
    if not isinstance(trace, (str, Path)) or str(trace) in ("", "???"):
        given = "" if trace in (None, "", "???") else " (a digest that reads as a number needs quotes: \"'0123'\")"
        raise ValueError(f"trace={trace}: {EXPECTED}{given}")
    named = Path(trace)
    if named.is_file():
        return named
    named = named.parent if named.name == "trace.parquet" else named
    folder = named if named.is_dir() else results / "runs" / named
    if compact.holds(folder.parent.parent, folder.name):
        return folder / "trace.parquet"
    if not folder.is_dir():
        raise ValueError(
            f"trace={trace}: there is no such file or folder, and no run of that digest in {results / 'runs'}; "
            f"`adaptive-bench status {results}` lists the runs"
        )
    if not (folder / "trace.parquet").is_file():
        raise ValueError(f"trace={trace}: {folder} has no trace.parquet; a run writes it at its end, so let it finish first")
    return folder / "trace.parquet"


def _columns(path: Path, names: Sequence[str]) -> list[list[int]]:
    try:
        folded = not path.is_file()
        frame = compact.steps(path.parents[2], path.parent.name) if folded else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"trace={path}: no readable Parquet file ({error}); name another run, or let this one start again"
        ) from error
    if missing := [name for name in names if name not in frame]:
        raise ValueError(f"trace={path}: it has no column {', '.join(missing)}; the trace.parquet of a run is expected")
    columns = [frame[name].tolist() for name in names]
    if not all(type(value) is int for column in columns for value in column):
        raise ValueError(f"trace={path}: {' and '.join(names)} are not all whole numbers in it; name another run")
    return columns


@checked
def read_calibration(
    calibration: str | Path, *, architecture: Mapping[str, Any] | None = None, grad_source: str | None = None
) -> Calibration:
    """Raises ValueError for a file that cannot be read, and for one of another architecture or gradient than the run's."""
    content = _content(Path(calibration))
    try:
        cost = content.get("cost") or {}
        found = Calibration(
            architecture=stable_names(content["architecture"]),
            grad_source=str(content["grad_source"]),
            levels=_numbers(content["levels"], SIGNALS),
            weights=checked_weights(content["weights"]),
            thresholds=_numbers(content["thresholds"], THRESHOLDS),
            samples=_numbers(cost, ("samples",))["samples"] if "samples" in cost else math.nan,
        )
    except KeyError as error:
        raise ValueError(
            f"calibration={calibration}: {error} is missing in it; make it anew: adaptive-bench calibrate"
        ) from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"calibration={calibration}: {error}; make it anew: adaptive-bench calibrate") from error
    architecture = None if architecture is None else stable_names(architecture)
    if architecture is not None and architecture != found.architecture:
        raise ValueError(
            f"calibration={calibration}: it is for the architecture {_named(found.architecture)}, "
            f"this run has {_named(architecture)}; make one for it with `adaptive-bench calibrate model=...`, "
            "or take calibration=null"
        )
    if grad_source is not None and grad_source != found.grad_source:
        raise ValueError(
            f"calibration={calibration}: it was made with grad_source={found.grad_source}, this run has {grad_source}; "
            f"take the one it was made with, or `adaptive-bench calibrate ... scheduler.grad_source={grad_source}`"
        )
    return found


def _named(architecture: Mapping[str, Any]) -> str:
    """mlp (hidden=[64, 64])"""
    settings = ", ".join(f"{key}={value}" for key, value in architecture.items() if key != "_target_")
    return f"{architecture.get('_target_', 'unknown')} ({settings})"


def _content(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"calibration={path}: there is no such file; make one with `adaptive-bench calibrate`, or take null")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError) as error:
        raise ValueError(f"calibration={path}: no readable yaml ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"calibration={path}: a yaml written by `adaptive-bench calibrate` is expected, this one is a list")
    return {str(key): value for key, value in content.items()}


def _numbers(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    found = {name: values[name] for name in names}
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r} in it, a finite number from 0 up is expected")
    return {name: float(value) for name, value in found.items()}
