"""Step times of a device, measured or published, and the seconds that runs would have taken under them.

A profile is a yaml file; `adaptive-bench profile` writes one, and it can be written by hand from published step times:

    device: NVIDIA H200          # free text: what the seconds are of
    date: 2026-01-31             # free text: when, or where, they were measured
    dataset: ptb                 # the options of the runs that it is for, by their names
    model: lstm_200
    settings:                    # optional: settings that the runs must have, by the names in their records
      precision: fp32
    steps:                       # every block with every batch, ascending by block, then by batch; two batches at least
    - {batch: 16, block: 35, seconds: 0.0041}
    - {batch: 64, block: 35, seconds: 0.0068}

`batch` are rows; `block` are positions a row, 1 without it. `seconds` is the time of one optimiser step at that size: loader,
forward and backward pass, update. If every step has `measured` as well, the seconds of a step that also measures the `statistics`
that the file lists, steps that measured are replayed with them (see `replay`). What else the command writes is for the reader:
`low`, `high`, `measured_low`, `measured_high` (bounds), `peak_bytes` and `steps_timed` of a step, `largest` (batch that fits),
`limited_by`, `interval`, `machine` and `versions` of the file.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import RegularGridInterpolator

from adaptive_bench.schema import MEASURED, PIECES, SIZED, SPENT

from .read import Runs

NEEDED = ("device", "date", "dataset", "model", "steps")
KNOWN = (*NEEDED, "settings", "statistics", "largest", "limited_by", "interval", "machine", "versions")
STEP_NEEDED = ("batch", "seconds")
STEP_KNOWN = (
    *(*STEP_NEEDED, "block", "low", "high", "measured", "measured_low", "measured_high"),
    *("peak_bytes", "steps_timed"),
)
MAKE = "adaptive-bench profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Seconds of a step t(batch, block) on a grid of sizes; `seconds` has the shape (blocks, batches).

    So has `measured`, of a step that measures `statistics`; None if that is not known of every size.
    """

    file: str
    device: str
    date: str
    dataset: str
    model: str
    settings: Mapping[str, Any]
    blocks: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: np.ndarray = field(repr=False, compare=False)
    measured: np.ndarray | None = field(repr=False, compare=False)
    statistics: frozenset[str]

    def step_seconds(self, batch: np.ndarray, block: np.ndarray, *, measuring: bool = False) -> np.ndarray:
        """ln t by linear interpolation in ln batch and ln block, both of shape (n,). Raises ValueError outside the grid."""
        values = self.measured if measuring else self.seconds
        assert values is not None
        for name, sizes, measured in (("batch", batch, self.batches), ("block", block, self.blocks)):
            outside = sizes[(sizes < measured[0]) | (sizes > measured[-1])]
            if len(outside):
                raise ValueError(
                    f"a {name} size of {outside[0]:.0f}, and {self.file} has {span(measured)}; it is not extrapolated: "
                    f"measure that size too ({MAKE} ... {'sizes' if name == 'batch' else 'blocks'}=...)"
                )
        grid = RegularGridInterpolator((np.log(self.blocks), np.log(self.batches)), np.log(values))
        found: np.ndarray = np.exp(grid(np.stack([np.log(block), np.log(batch)], axis=1)))
        return found

    def check(self, records: pd.DataFrame) -> None:
        """Raises ValueError unless the records of a workload are of this data set and model, with these settings."""
        first = records.iloc[0]
        if (self.dataset, self.model) != (first["dataset"], first["model"]):
            raise ValueError(
                f"{first['title']}: {self.file} is a profile of {self.dataset} / {self.model}; name one of this workload, "
                f"which `{MAKE} dataset={first['dataset']} model={first['model']}` makes"
            )
        if first["settings"].get("ranks", 1) > 1:
            raise ValueError(
                f"{first['title']}: runs of {first['settings']['ranks']} processes each, and {self.file} has step times of one; "
                "leave --device out"
            )
        if (name := self.unlike(first["settings"])) is not None:
            theirs = f"{name}={first['settings'][name]}" if name in first["settings"] else "no such setting"
            raise ValueError(
                f"{first['title']}: {self.file} is for {name}={self.settings[name]}, and these runs have {theirs}; measure with "
                "their settings, or delete that line of the file if it does not change the time of a step"
            )

    def unlike(self, settings: Mapping[str, Any]) -> str | None:
        """The first setting of the profile that is missing in `settings` or another one there; None if there is none."""
        differing = (name for name, value in self.settings.items() if name not in settings or not _same(settings[name], value))
        return next(differing, None)


def fitting(profiles: Sequence[Profile], records: pd.DataFrame) -> Profile | None:
    """The profile of a workload among several; None of none. Raises ValueError if there is no fitting one."""
    if not profiles:
        return None
    first = records.iloc[0]
    here = [each for each in profiles if (each.dataset, each.model) == (first["dataset"], first["model"])] or [*profiles]
    alike = [each for each in here if each.unlike(first["settings"]) is None]
    if len(alike) > 1:
        raise ValueError(f"{first['title']}: {', '.join(each.file for each in alike)} are all profiles of it; give one of them")
    found = next(iter(alike), here[0])
    found.check(records)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The seconds of a run under a profile: after `samples` it has taken `seconds`; both of shape (pieces + 1,), from 0 on."""

    samples: np.ndarray
    seconds: np.ndarray

    @property
    def total(self) -> float:
        return float(self.seconds[-1])

    def until(self, samples: float) -> float:
        """The seconds up to so many samples, linear within a step; inf for inf."""
        return float(np.interp(samples, self.samples, self.seconds)) if math.isfinite(samples) else math.inf


def replay(runs: Runs, record: Mapping[str, Any], profile: Profile) -> Replay:
    """Re-time a finished run: the sum over its steps of t(batch, block) from the profile.

    A step takes the time of its own size. One that was cut, at the end of the budget or of a text, may be smaller than anything
    measured: it takes the time of the smallest rows and blocks that were. Every granted size must be in the measured range.

    Steps that measured take the profile's `measured` time if the run measured any of the profile's statistics, of which most cost
    one pass over per-sample gradients, whichever is asked for. A trace says which steps those were; a run that was compacted by
    an older version does not, and counts as measured throughout. Where the profile cannot say what measuring costs, it keeps
    the share that it had on the run's own device: t (1 + m), m = seconds_measure / seconds_train over all steps of a size.
    Evaluations and the scores of a curriculum are not replayed, and a batch that went through the model in pieces is timed as
    the profile has it. Raises ValueError for a size outside the profile.
    """
    statistics = str(record["statistics"]).split()
    trace = _pieces(runs, record["run"], statistics)
    totals = ["step", "samples", *SPENT, MEASURED]
    each = trace[totals].diff().fillna(trace[totals])  # of a piece
    count, measuring = (each[name].to_numpy(dtype=float) for name in ("step", MEASURED))
    granted = [trace[f"{name}_granted"].to_numpy(dtype=float) for name in ("batch_size", "block_size")]
    smallest = profile.batches[0], profile.blocks[0]
    taken = [
        np.maximum(trace[name].to_numpy(dtype=float), least)
        for name, least in zip(("batch_size", "block_size"), smallest, strict=True)
    ]
    try:
        profile.step_seconds(*granted)  # refuses
        plain = profile.step_seconds(*taken)
    except ValueError as error:
        raise ValueError(f"run {record['run']}: {error}") from error
    if profile.measured is not None and profile.statistics.intersection(statistics):
        pieces = (count - measuring) * plain + measuring * profile.step_seconds(*taken, measuring=True)
    elif statistics:
        pieces = count * plain * (1 + _share(trace, each))
    else:
        pieces = count * plain
    return Replay(samples=np.append(0.0, trace["samples"].to_numpy(dtype=float)), seconds=np.append(0.0, np.cumsum(pieces)))


def replayed(runs: Runs, record: Mapping[str, Any], profile: Profile) -> Replay:
    """`replay`, made once of a run however many tables are made of it."""
    known, found = runs.replays.get(str(record["run"]), (None, None))
    if known is not profile:
        found = replay(runs, record, profile)
        runs.replays[str(record["run"])] = profile, found
    assert isinstance(found, Replay)
    return found


def _pieces(runs: Runs, run: str, statistics: Sequence[str]) -> pd.DataFrame:
    """The trace with the number of steps so far that measured any of these statistics."""
    if not runs.has_steps(run):
        trace = runs.trace(run, (*PIECES, MEASURED))
        return trace.assign(**{MEASURED: trace[MEASURED].fillna(trace["step"] if statistics else 0)})
    trace = runs.trace(run, (*PIECES, *statistics))
    return trace.assign(**{MEASURED: trace[list(statistics)].notna().any(axis=1).cumsum()})


def _share(trace: pd.DataFrame, each: pd.DataFrame) -> np.ndarray:
    """The seconds of measuring over those of training, over all steps of the same size; sums make it the same if compacted."""
    spent = each[list(SPENT)].groupby([trace[name] for name in SIZED], sort=False).transform("sum")
    train, measure = (spent[name].to_numpy(dtype=float) for name in SPENT)
    share: np.ndarray = np.divide(measure, train, out=np.zeros_like(train), where=train > 0)
    return share


def read_profile(path: str | Path) -> Profile:
    """A profile from its file, checked. Raises ValueError, with the file and the entry."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: no readable yaml ({' '.join(str(error).split())}); {MAKE} writes a profile") from error
    _check_names(content, NEEDED, KNOWN, name=str(path))
    assert isinstance(content, Mapping)
    settings, steps = content.get("settings") or {}, content["steps"]
    if not isinstance(settings, Mapping):
        raise ValueError(f"{path}: settings is {settings!r}; names with values are expected, such as precision: fp32")
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise ValueError(f"{path}: steps is {steps!r}; a list of {{batch: ..., seconds: ...}} is expected")
    sizes = [_size(entry, name=f"{path}: step {at}") for at, entry in enumerate(steps, start=1)]
    blocks, batches = (tuple(sorted({size[at] for size in sizes})) for at in (0, 1))
    _check_grid(sizes, blocks, batches, name=str(path))
    shape = len(blocks), len(batches)
    return Profile(
        file=str(path),
        **{name: str(content[name]) for name in ("device", "date", "dataset", "model")},
        settings={str(name): value for name, value in settings.items()},
        blocks=blocks,
        batches=batches,
        seconds=_times(steps, "seconds", shape, name=str(path)),
        measured=_times(steps, "measured", shape, name=str(path)) if all("measured" in entry for entry in steps) else None,
        statistics=frozenset(map(str, content.get("statistics") or ())),
    )


def _size(entry: Any, *, name: str) -> tuple[int, int]:
    """Block and batch of a step."""
    _check_names(entry, STEP_NEEDED, STEP_KNOWN, name=name)
    block, batch = entry.get("block", 1), entry["batch"]
    if any(type(size) is not int or size < 1 for size in (block, batch)):
        raise ValueError(f"{name} has batch {batch!r} and block {block!r}; whole numbers from 1 up are expected")
    return block, batch


def _times(steps: Sequence[Mapping[str, Any]], key: str, shape: tuple[int, int], *, name: str) -> np.ndarray:
    """A column of the steps, which are in the order of the grid."""
    for at, entry in enumerate(steps, start=1):
        value = entry[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(
                f"{name}: step {at} (batch {entry['batch']}, block {entry.get('block', 1)}) has {key} {value!r}; "
                "a finite number above 0 is expected"
            )
    return np.array([entry[key] for entry in steps], dtype=float).reshape(shape)


def _check_names(entry: Any, needed: Sequence[str], known: Sequence[str], *, name: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{name} is {_short(entry)}; a mapping with {', '.join(needed)} is expected")
    missing, unknown = [key for key in needed if key not in entry], [str(key) for key in entry if key not in known]
    if missing or unknown:
        wrong = " and ".join([f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown))
        raise ValueError(f"{name} {wrong}; {', '.join(needed)} are expected, and {', '.join(known[len(needed) :])} may be there")


def _check_grid(sizes: list[tuple[int, int]], blocks: Sequence[int], batches: Sequence[int], *, name: str) -> None:
    """Raises ValueError unless the sizes are every block with every batch, ascending, and batches are two or more."""
    if len(batches) < 2:
        raise ValueError(f"{name}: step times of {len(batches)} batch sizes; two or more are expected, to interpolate between")
    for before, after in pairwise(sizes):
        if after <= before:
            raise ValueError(
                f"{name}: batch {after[1]}, block {after[0]} comes after batch {before[1]}, block {before[0]}; sizes ascending "
                "by block, then by batch, and each only once are expected"
            )
    for block, batch in product(blocks, batches):
        if (block, batch) not in sizes:
            raise ValueError(
                f"{name}: a hole, there is no step of batch {batch}, block {block}; every block with every batch is expected"
            )


def span(sizes: Sequence[int]) -> str:
    """The text "1 to 512", or "only 32"."""
    return f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"only {sizes[0]}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _same(one: object, other: object) -> bool:
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)
