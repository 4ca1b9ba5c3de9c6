"""The one abstraction of the project: a rule that reads a run and wishes for a size."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar

from adaptive_bench.size import BatchShape, Progress


class Stat(StrEnum):
    """What an estimator can measure on a backward pass.

    g_i is the gradient of sample i's own loss, B the batch size, g = (1/B) sum_i g_i the batch gradient,
    G = E g_i and Sigma = Cov g_i.
    """

    GRAD_NORM = "grad_norm"  # |g|, of the batch gradient before any clipping
    GRAD_SQ_NORM = "grad_sq_norm"  # unbiased estimate of |G|^2; can be negative
    GRAD_VARIANCE = "grad_variance"  # unbiased estimate of tr(Sigma), the per-sample variance
    SAMPLE_SQ_NORMS = "sample_sq_norms"  # mean over the batch of |g_i|^2
    EPOCH_GRAD_SQ_NORM = "epoch_grad_sq_norm"  # |sum of g_i|^2 over all samples measured since the epoch began


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One finished step. `progress` is the position behind it; `stats` holds at least what the scheduler needs, or
    nothing at a step it did not ask to measure; `evaluation` is the validation metric if it was just taken.
    """

    progress: Progress
    shape: BatchShape
    lr: float
    loss: float
    stats: Mapping[Stat, float]
    evaluation: float | None = None


@dataclass(kw_only=True)
class SizeScheduler(ABC):
    """A rule for a size (batch size or block size) as a function of progress and of what was observed.

    Constructor fields are settings; fields with `init=False` are state, and only `observe` changes them.
    """

    needs: ClassVar[frozenset[Stat]] = frozenset()
    initial: float = 128

    def __post_init__(self) -> None:
        positive("initial", self.initial)

    def only_grows(self) -> bool:
        """Whether the wish never falls. At the maximum, nothing is measured for such a scheduler any more."""
        return False

    def measures(self, progress: Progress) -> bool:
        """Whether the step that starts at `progress` is to be measured, if the scheduler needs statistics at all."""
        return bool(self.needs)

    def observe(self, seen: Observation) -> None:  # noqa: B027  (a schedule that reads only the clock observes nothing)
        """Take note of a finished step."""

    @abstractmethod
    def propose(self, progress: Progress) -> float:
        """The size wished for the step that starts at `progress`, before any rounding or clipping. Changes nothing."""

    def state_dict(self) -> dict[str, Any]:
        """The state fields, without the settings."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self._state_names()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`. Raises ValueError if the state has other fields than this scheduler."""
        if set(state) != set(self._state_names()):
            raise ValueError(
                f"this state does not belong to {type(self).__name__}: "
                f"it holds {sorted(state)}, expected {sorted(self._state_names())}"
            )
        for name, value in state.items():
            setattr(self, name, copy.deepcopy(value))

    def _state_names(self) -> list[str]:
        return [field.name for field in fields(self) if not field.init]


def positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}={value!r}: a finite number above 0 is expected")


def power(factor: float, exponent: int) -> float:
    """factor^exponent, infinite where a float cannot hold it: the range grants its maximum then."""
    try:
        return float(factor) ** exponent
    except OverflowError:
        return math.inf
