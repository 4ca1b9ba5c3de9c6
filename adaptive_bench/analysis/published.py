"""What others have published for an arm with the same settings, to stand beside what was measured here."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .intervals import CONFIDENCE, standard_deviation

MARGIN = {"accuracy": 0.5, "perplexity": 1.0}  # by metric, within which values agree: points, and %
PUBLISHED = Path(__file__).with_name("published.yaml")
SETTINGS = PUBLISHED.with_name("published_settings.json")  # of every claim; written by tests/analysis/published_settings.py
COLUMNS = ("dataset", "model", "arm")  # of the record; every other key is one of its settings
FREE = ("seed", "device", "compile")  # settings in which a run may differ from what was published
NAMED, OWN = ("workload", "arm"), ("settings", "metric")  # what says which runs an entry is about: the one or the other
REQUIRED = ("value", "source")
OPTIONAL = ("low", "high", "seeds", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Ours against a claim: the `difference` ours - published (for perplexity the ratio ours / published), its 95 % interval (nan
    where there is none) and the `verdict`: "agrees", "differs" or "cannot tell".
    """

    difference: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A published `value` of the test metric, in the record's unit, with its 95 % interval (nan where none is given).

    It is a mean over so many `seeds` (None: not stated; one run where there is no interval either), and is about runs whose
    `settings` (dotted keys, and the record's columns dataset, model and arm) are all the same. Settings that are `complete` are
    all that a run has, beside seeds and machine: one that they lack is then a difference too.
    """

    settings: Mapping[str, object]
    metric: str
    value: float
    source: str
    low: float = math.nan
    high: float = math.nan
    seeds: int | None = None
    note: str = ""
    complete: bool = False

    def applies(self, record: Mapping[Any, Any]) -> bool:
        """Whether this is a claim about such a run; a setting of null also matches a record that lacks it."""
        if record["metric"] != self.metric:
            return False
        settings = record["settings"] if self.complete else record["settings"] | {name: record[name] for name in COLUMNS}
        # most runs differ in the first settings already, and there are many claims
        if not all(_same(settings.get(key), value) for key, value in self.settings.items()):
            return False
        return not self.complete or own_settings(settings).keys() <= self.settings.keys()

    def verdict(self, values: Iterable[float], *, margin: float | None = None, resolution: float = 0.0) -> Replication:
        """Our `values`, one a seed, against this claim; perplexities on logarithms.

        Where the claim has an interval, its standard error is half of it over t(seeds - 1, 0.975), or over 1.96 where `seeds` is
        not stated, and the difference of the two means has the interval of Welch (1947). Where it has none, the value is a new
        draw of ours, a mean over m = `seeds` or 1: the prediction interval difference -+ t(n - 1, 0.975) s sqrt(1/n + 1/m).

        "differs" if no difference lies outside the interval, else "agrees" if all of it lies within -+`margin` (points of
        accuracy, % of perplexity; default MARGIN), else "cannot tell", as with less than two finite values. An accuracy in steps
        of `resolution` points has a standard deviation of at least resolution / sqrt(12), that of rounding.
        """
        ours, logs = np.fromiter(values, dtype=float), self.metric == "perplexity"
        published = np.array([self.value, self.low, self.high])
        margin = MARGIN[self.metric] if margin is None else margin
        if logs:
            with np.errstate(divide="ignore", invalid="ignore"):  # a perplexity of 0 has no logarithm and gets no verdict
                ours, published, margin = np.log(ours), np.log(published), math.log1p(margin / 100)
        n, (value, low, high) = len(ours), published.tolist()
        usable = n > 1 and bool(np.isfinite(ours).all())
        # the mean of equal values would leave dust
        difference = (float(ours.mean()) if usable and np.ptp(ours) > 0 else float(ours[0]) if n else math.nan) - value
        half = math.nan
        if usable:
            sd = max(standard_deviation(ours), 0 if logs else resolution / math.sqrt(12))
            half = _predicted(sd, n=n, m=self.seeds or 1) if math.isnan(low) else _welch(sd, n=n, width=high - low, m=self.seeds)
        bounds = (difference, difference - half, difference + half)
        verdict = "cannot tell"
        if abs(difference) > half:
            verdict = "differs"
        elif abs(difference) + half <= margin:
            verdict = "agrees"
        difference, low, high = (float(np.exp(part)) for part in bounds) if logs else bounds
        return Replication(difference=difference, low=low, high=high, verdict=verdict)


def _predicted(sd: float, *, n: int, m: int) -> float:
    """Half the prediction interval of a mean over `m` new values."""
    return _quantile(n - 1) * sd * math.sqrt(1 / n + 1 / m)


def _welch(sd: float, *, n: int, width: float, m: int | None) -> float:
    """Half the interval of the difference from a mean whose own interval has this width."""
    df = m - 1 if m else math.inf
    own, theirs = sd**2 / n, (width / 2 / _quantile(df)) ** 2
    if own == theirs == 0:
        return 0.0
    below = own**2 / (n - 1) + theirs**2 / df
    # whole degrees of freedom: with two of our values, fractions of one would call 6.4 % of exact replications different
    freedom = math.floor((own + theirs) ** 2 / below + 1e-9) if math.isfinite(df) or own else math.inf
    return _quantile(freedom) * math.sqrt(own + theirs)


def _quantile(df: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, df))


def own_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that a run must share with a claim about it: all but seeds and machine."""
    return {key: value for key, value in settings.items() if key not in FREE and key.rpartition(".")[2] != "seed"}


def about(claims: Iterable[Claim], *, records: Sequence[Mapping[str, Any]]) -> tuple[Claim, ...]:
    """The claims that hold for every one of an arm's records."""
    return tuple(claim for claim in claims if all(claim.applies(record) for record in records))


def read_claims(path: str | Path = PUBLISHED) -> tuple[Claim, ...]:
    """The claims of a yaml file. Raises ValueError, with the file and the entry, for one that cannot be used.

    `claims` is a list. An entry has `value` and `source`, maybe `low`, `high`, `seeds` and `note`, and says which runs it is
    about: by `workload`, a sweep of ours that the file's `workloads` give its metric and the digest of its data, and `arm`; or by
    `settings` of its own and `metric`.
    """
    workloads, entries = _content(Path(path))
    return tuple(_claim(entry, name=f"{path}: entry {at}", workloads=workloads) for at, entry in enumerate(entries, start=1))


def _content(path: Path) -> tuple[dict[str, Any], list[Any]]:
    # most who import the analysis read no claims
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise ValueError(f"{path}: no readable yaml ({' '.join(str(error).split())}); a list of claims is expected") from error
    if not isinstance(found, dict) or not isinstance(found.get("claims"), list) or found.keys() - {"workloads", "claims"}:
        raise ValueError(f"{path}: a list of claims is expected under claims, and nothing beside it but workloads")
    workloads = found.get("workloads") or {}
    for name, facts in workloads.items() if isinstance(workloads, dict) else [("", workloads)]:
        if not isinstance(facts, dict) or facts.keys() != {"metric", "content"}:
            raise ValueError(f"{path}: workload {name} is {facts!r}; a mapping with metric and content (of its data) is expected")
    return workloads, found["claims"]


def _claim(entry: Any, *, name: str, workloads: Mapping[str, Any]) -> Claim:
    if not isinstance(entry, dict):
        raise ValueError(f"{name} is {entry!r}; a mapping with {', '.join((*NAMED, *REQUIRED))} is expected")
    required = (*(OWN if "settings" in entry else NAMED), *REQUIRED)
    if unknown := [str(key) for key in entry if key not in (*required, *OPTIONAL)]:
        raise ValueError(f"{name} has {', '.join(unknown)}; only {', '.join((*required, *OPTIONAL))} are known")
    if missing := [key for key in required if key not in entry]:
        raise ValueError(f"{name} lacks {', '.join(missing)}; add it")
    for key in ("workload", "arm", "metric", "source", "note"):
        if key in entry and not (isinstance(entry[key], str) and entry[key].strip()):
            raise ValueError(f"{name}: {key} is {entry[key]!r}; a text is expected")
    if "settings" in entry:
        about = {"settings": _settings(entry["settings"], name=name), "metric": entry["metric"]}
    else:
        about = _named(entry["workload"], arm=entry["arm"], name=name, workloads=workloads)
    if about["metric"] not in MARGIN:
        raise ValueError(f"{name}: metric is {about['metric']!r}; one of {', '.join(MARGIN)} is expected")
    bounds = {key: _number(entry[key], name=f"{name}: {key}") for key in ("value", "low", "high") if key in entry}
    if len(bounds) == 2 or not bounds.get("low", -math.inf) <= bounds["value"] <= bounds.get("high", math.inf):
        raise ValueError(f"{name}: {bounds}; low and high come together, with the value between them, or not at all")
    if about["metric"] == "perplexity" and min(bounds.values()) <= 0:
        raise ValueError(f"{name}: {bounds}; perplexities are above 0")
    seeds, least = entry.get("seeds", 2), 2 if "low" in bounds else 1
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < least:
        raise ValueError(f"{name}: seeds is {seeds!r}; a whole number of {least} or more is expected")
    others = {key: entry[key] for key in ("source", "seeds", "note") if key in entry}
    return Claim(**about | bounds | others)


def _named(workload: str, *, arm: str, name: str, workloads: Mapping[str, Any]) -> dict[str, Any]:
    """What a claim is about, by the settings that its sweep gives to its arm."""
    if workload not in workloads:
        raise ValueError(f"{name}: no workload {workload!r}; the file's workloads are {', '.join(workloads) or 'none'}")
    known = json.loads(SETTINGS.read_text()).get(workload, {"": {}})
    if not arm or arm not in known:
        raise ValueError(
            f"{name}: no settings are kept for the arm {arm!r} of {workload} (kept: {', '.join(filter(None, known)) or 'none'}); "
            "state settings and metric instead, or in the package's own file run python -m tests.analysis.published_settings"
        )
    facts = workloads[workload]
    settings = known[""] | known[arm] | {"dataset.content": facts["content"]}
    return {"settings": settings, "metric": facts["metric"], "complete": True}


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
