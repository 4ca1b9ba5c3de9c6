"""What a calibration run says of an architecture; both DEBA controllers use it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from adaptive_bench.schedulers.epoch_signals import SIGNALS


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    architecture: Mapping[str, Any]  # the settings of the model
    grad_source: str
    levels: Mapping[str, float]  # reference level of each signal
    weights: Mapping[str, float]  # of each signal in the score
    thresholds: Mapping[str, float]  # of the tests of deba_flags
    samples: float = math.nan  # that its run trained; nan: the file does not say

    def digest(self) -> str:
        """A digest of everything that can change a run; the cost of the calibration is no part of it."""
        told = asdict(self)
        del told["samples"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def checked_weights(weights: Mapping[str, Any]) -> dict[str, float]:
    """The weight of each signal. Raises ValueError unless they are numbers from 0 up that sum to 1."""
    numbers = [value for value in weights.values() if isinstance(value, (int, float)) and value >= 0]
    if set(weights) != set(SIGNALS) or len(numbers) != len(SIGNALS) or not math.isclose(sum(numbers), 1, abs_tol=1e-6):
        expected = f"numbers from 0 up that sum to 1 are expected, one for each of {', '.join(SIGNALS)}"
        raise ValueError(f"weights={dict(weights)}: {expected}")
    return {name: float(weights[name]) for name in SIGNALS}
