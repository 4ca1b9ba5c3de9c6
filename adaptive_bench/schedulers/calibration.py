"""Reading the file that `adaptive-bench calibrate` writes for an architecture; both DEBA controllers use it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adaptive_bench.schedulers.epoch_signals import SIGNALS
from adaptive_bench.schema import stable_names

THRESHOLDS = ("confidence", "stability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    architecture: Mapping[str, Any]  # the settings of the model
    grad_source: str
    levels: Mapping[str, float]  # reference level of each signal
    weights: Mapping[str, float]  # of each signal in the score
    thresholds: Mapping[str, float]  # of the tests of deba_flags

    def digest(self) -> str:
        """A digest of everything that can change a run; the cost of the calibration is no part of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def read_calibration(
    path: str | Path, *, architecture: Mapping[str, Any] | None = None, grad_source: str | None = None
) -> Calibration:
    """Raises ValueError for a file that cannot be read, and for one of another architecture or gradient than the run's."""
    content = _content(Path(path))
    try:
        found = Calibration(
            architecture=stable_names(content["architecture"]),
            grad_source=str(content["grad_source"]),
            levels=_numbers(content["levels"], SIGNALS),
            weights=checked_weights(content["weights"]),
            thresholds=_numbers(content["thresholds"], THRESHOLDS),
        )
    except KeyError as error:
        raise ValueError(f"calibration={path}: {error} is missing in it; make it anew: adaptive-bench calibrate") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"calibration={path}: {error}; make it anew: adaptive-bench calibrate") from error
    architecture = None if architecture is None else stable_names(architecture)
    if architecture is not None and architecture != found.architecture:
        raise ValueError(
            f"calibration={path}: it is for the architecture {_named(found.architecture)}, this run has {_named(architecture)}; "
            "make one for it with `adaptive-bench calibrate model=...`, or take calibration=null"
        )
    if grad_source is not None and grad_source != found.grad_source:
        raise ValueError(
            f"calibration={path}: it was made with grad_source={found.grad_source}, this run has {grad_source}; "
            f"take the one it was made with, or `adaptive-bench calibrate ... scheduler.grad_source={grad_source}`"
        )
    return found


def checked_weights(weights: Mapping[str, Any]) -> dict[str, float]:
    """The weight of each signal. Raises ValueError unless they are numbers from 0 up that sum to 1."""
    numbers = [value for value in weights.values() if isinstance(value, (int, float)) and value >= 0]
    if set(weights) != set(SIGNALS) or len(numbers) != len(SIGNALS) or not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        expected = f"numbers from 0 up that sum to 1 are expected, one for each of {', '.join(SIGNALS)}"
        raise ValueError(f"weights={dict(weights)}: {expected}")
    return {name: float(weights[name]) for name in SIGNALS}


def _named(architecture: Mapping[str, Any]) -> str:
    """mlp (hidden=[64, 64])"""
    settings = ", ".join(f"{key}={value}" for key, value in architecture.items() if key != "_target_")
    return f"{architecture.get('_target_', 'unknown')} ({settings})"


def _content(path: Path) -> Mapping[str, Any]:
    # a scheduler is imported without any of this
    from omegaconf import OmegaConf
    from yaml import YAMLError  # type: ignore[import-untyped]

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
