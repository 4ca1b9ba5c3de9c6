"""What others have published for an arm with the same settings, to stand beside what was measured here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .intervals import Interval

PUBLISHED = Path(__file__).with_name("published.yaml")
COLUMNS = ("dataset", "model", "arm")  # of the record; every other key is one of its settings
REQUIRED = ("settings", "metric", "value", "source")
OPTIONAL = ("low", "high", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published `value` of the test metric, in the record's unit, with its interval (nan where none is given).

    It is about runs whose `settings` (dotted keys, and the record's columns dataset, model and arm) are all the same.
    """

    settings: Mapping[str, object]
    metric: str
    value: float
    source: str
    low: float = math.nan
    high: float = math.nan
    note: str = ""

    def applies(self, record: Mapping[Any, Any]) -> bool:
        """Whether this is a claim about such a run; a setting of null also matches a record that lacks it."""
        own = {**record["settings"], **{name: record[name] for name in COLUMNS}}
        return record["metric"] == self.metric and all(_same(own.get(key), value) for key, value in self.settings.items())

    def inside(self, ours: Interval) -> bool | None:
        """Whether the value lies inside our interval; None where there is no interval."""
        return None if math.isnan(ours.low) else ours.low <= self.value <= ours.high


def about(claims: Iterable[Claim], *, records: pd.DataFrame) -> tuple[Claim, ...]:
    """The claims that hold for every one of an arm's records."""
    rows = records.to_dict("records")
    return tuple(claim for claim in claims if all(claim.applies(row) for row in rows))


def read_claims(path: str | Path = PUBLISHED) -> tuple[Claim, ...]:
    """The claims of a yaml file. Raises ValueError, with the file and the entry, for one that cannot be used."""
    return tuple(_claim(entry, name=f"{path}: entry {at}") for at, entry in enumerate(_entries(Path(path)), start=1))


def _entries(path: Path) -> list[Any]:
    # most who import the analysis read no claims
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        entries = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: no readable yaml ({' '.join(str(error).split())}); a list of claims is expected") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path}: it holds no list; a list of claims is expected, each with {', '.join(REQUIRED)}")
    return entries


def _claim(entry: Any, *, name: str) -> Claim:
    if not isinstance(entry, dict):
        raise ValueError(f"{name} is {entry!r}; a mapping with {', '.join(REQUIRED)} is expected")
    if missing := [key for key in REQUIRED if key not in entry]:
        raise ValueError(f"{name} lacks {', '.join(missing)}; add it")
    if unknown := [str(key) for key in entry if key not in (*REQUIRED, *OPTIONAL)]:
        raise ValueError(f"{name} has {', '.join(unknown)}; only {', '.join((*REQUIRED, *OPTIONAL))} are known")
    for key in ("metric", "source", "note"):
        if key in entry and not (isinstance(entry[key], str) and entry[key].strip()):
            raise ValueError(f"{name}: {key} is {entry[key]!r}; a text is expected")
    bounds = {key: _number(entry[key], name=f"{name}: {key}") for key in ("value", "low", "high") if key in entry}
    if len(bounds) == 2 or not bounds.get("low", -math.inf) <= bounds["value"] <= bounds.get("high", math.inf):
        raise ValueError(f"{name}: {bounds}; low and high come together, with the value between them, or not at all")
    texts = {key: entry[key] for key in ("metric", "source", "note") if key in entry}
    return Claim(**{"settings": _settings(entry["settings"], name=name)} | bounds | texts)


def _settings(settings: Any, *, name: str) -> dict[str, object]:
    if not isinstance(settings, dict) or not settings or not all(isinstance(key, str) for key in settings):
        raise ValueError(f"{name}: settings is {settings!r}; a mapping of {', '.join(COLUMNS)} and dotted keys is expected")
    if nested := [key for key, value in settings.items() if isinstance(value, dict)]:
        raise ValueError(f"{name}: settings.{nested[0]} is a mapping; write dotted keys, such as {nested[0]}.NAME: VALUE")
    return settings


def _number(value: Any, *, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; a finite number is expected")
    return float(value)


def _same(own: object, wanted: object) -> bool:
    """Equal as settings: 13 is 13.0, but 1 is not true."""
    return own == wanted and isinstance(own, bool) == isinstance(wanted, bool)
