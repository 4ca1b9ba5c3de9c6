"""Tuned learning rates: `optimizer.lr='${tuned:FILE}'` takes that of the run's arm from a file of `adaptive-bench tune`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from adaptive_bench.schema import RATES

KEY = "tuned"
MADE = "a file written by `adaptive-bench tune` is expected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a file says of one arm: the `rate` chosen of so many `rates`, on these `seeds`, at the cost of `samples` trained."""

    rate: float
    rates: int
    seeds: tuple[int, ...]
    samples: int

    def __str__(self) -> str:
        return f"{self.rates}{RATES}{len(self.seeds)} seeds"


def read_tuned(file: str | Path, choices: Mapping[str, Any]) -> Tuned:
    """What `file` says of the arm, data set and model among Hydra's `choices`. Raises ValueError."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, YAMLError) as error:
        raise ValueError(f"{KEY}:{file}: no readable yaml ({' '.join(str(error).split())}); {MADE}") from error
    try:
        assert isinstance(content, dict)
        place, arms, seeds = (content["dataset"], content["model"]), content["arms"], tuple(map(int, content["seeds"]))
        own = choices["dataset"], choices["model"]
        if place != own:
            raise ValueError(f"{KEY}:{file}: it is for {' / '.join(place)}, and this run has {' / '.join(own)}; tune for it")
        if (arm := choices.get("arm")) not in arms:
            raise ValueError(f"{KEY}:{file}: it has no arm {arm!r}, only {', '.join(arms)}; tune again with it")
        found = arms[arm]
        return Tuned(rate=float(found["chosen"]), rates=len(found["rates"]), seeds=seeds, samples=int(found["samples"]))
    except (AssertionError, KeyError, TypeError) as error:
        raise ValueError(f"{KEY}:{file}: {error or 'it is no mapping'} is missing or of another kind; {MADE}") from error


def tuning(cfg: DictConfig, choices: Mapping[str, Any]) -> Tuned | None:
    """How a run's learning rate was tuned; None if it was not. Raises ValueError for a seed that it was tuned on."""
    written = OmegaConf.to_container(cfg.optimizer, resolve=False)
    assert isinstance(written, dict)
    named = re.fullmatch(rf"\$\{{{KEY}:(.+)\}}", str(written.get("lr", "")))
    if not named:
        return None
    found = read_tuned(named[1].strip("'\""), choices)
    if cfg.seed in found.seeds:
        raise ValueError(
            f"seed={cfg.seed}: its validation values chose the learning rate; take a seed that has no part in {named[1]} "
            f"({', '.join(map(str, found.seeds))})"
        )
    return found


def _rate(file: str, *, _root_: DictConfig) -> float:
    """`${tuned:FILE}`: the learning rate of the run's arm."""
    hydra = _root_.hydra if "hydra" in _root_ else HydraConfig.get()
    return read_tuned(file, hydra.runtime.choices).rate


OmegaConf.register_new_resolver(KEY, _rate, replace=True)
