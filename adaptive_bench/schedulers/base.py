"""The one abstraction of the project: a rule that reads a run and wishes for a size."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from adaptive_bench.sizes import BatchShape, Progress
from adaptive_bench.stateful import Stateful


class Stat(StrEnum):
    """What can be measured for a scheduler, on a backward pass unless it says otherwise.

    g_i is the gradient of sample i's own loss, B the batch size, g = (1/B) sum_i g_i the batch gradient,
    G = E g_i and Sigma = Cov g_i. h_1 ... h_k are the mean gradients of k micro-batches.
    """

    GRAD_NORM = "grad_norm"  # |g|, of the batch gradient before any clipping
    GRAD_SQ_NORM = "grad_sq_norm"  # unbiased estimate of |G|^2; can be negative
    GRAD_VARIANCE = "grad_variance"  # unbiased estimate of tr(Sigma), the per-sample variance
    SAMPLE_SQ_NORMS = "sample_sq_norms"  # mean over the batch of |g_i|^2
    EPOCH_GRAD_SQ_NORM = "epoch_grad_sq_norm"  # |sum of g_i|^2 over all samples measured since the epoch began
    COMPONENT_VARIANCE = "component_variance"  # spread of the d components of g: |g|^2 / d - (mean component)^2
    EPOCH_COMPONENT_VARIANCE = "epoch_component_variance"  # the same of the sum of g_i since the epoch began
    MICROBATCH_RATIO = "microbatch_ratio"  # (1/k) sum_j |h_j - g|^2 / |g|^2, equal micro-batches; k - 1 if all is noise
    MICROBATCHES = "microbatches"  # k behind that ratio
    HALVES_COSINE = "halves_cosine"  # cosine of the angle between the mean gradients of the batch's two halves
    INNER_PRODUCT_VARIANCE = "inner_product_variance"  # variance over samples of the inner product of g_i with g
    ENTROPY = "entropy"  # mean entropy of the softmax over log C, 0 to 1, on the training batch
    # n sum_i |g_i|^2 / |sum_i g_i|^2 over the n rows of the training set, at fixed weights: a pass over all of it
    DIVERSITY_BOUND = "diversity_bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One finished step. `progress` is the position behind it; `stats` holds at least what the scheduler needs, or
    nothing at a step that was not measured; `evaluation` is the validation metric if it was just taken, with its sign
    turned where less is better: higher is better here, always. `validation_loss` comes with it, as it is.
    """

    progress: Progress
    shape: BatchShape
    lr: float
    loss: float
    stats: Mapping[Stat, float]
    evaluation: float | None = None
    validation_loss: float | None = None
    size: int | None = None  # that the scheduler was granted; None: the batch, uncut
    whole: bool = True  # False where less than the granted shape was left: at the end of a budget, of an epoch of a text
    seconds: float = math.nan  # training time of the step

    @property
    def granted(self) -> int:
        return self.shape.batch if self.size is None else self.size

    def crossed(self, interval: float) -> bool:
        """Whether the step reached or passed a multiple of `interval` samples."""
        return self.progress.samples // interval > (self.progress.samples - self.shape.samples) // interval


@dataclass(kw_only=True)
class SizeScheduler(Stateful, ABC):
    """A rule for a size (batch size or block size) as a function of progress and of what was observed.

    Constructor fields are settings; fields with `init=False` are state, and only `observe` changes them.
    `minimum`, `cooldown` and `growth_cap` are what the method asks for where the range leaves them open; the range and the slot
    apply them, never the rule itself.
    """

    not_for_blocks: ClassVar[str] = ""  # why the rule cannot drive the block size; "" if it can

    initial: float = 128
    minimum: int = 1  # smallest size
    cooldown: float = 0  # epochs that a size lasts at least
    growth_cap: float | None = None  # largest factor of one change
    measure_every: int = 0  # samples between two measured steps; 0: every step

    def __post_init__(self) -> None:
        positive("initial", self.initial)
        whole_number("minimum", self.minimum)
        if not 0 <= self.cooldown < math.inf:
            raise ValueError(f"cooldown={self.cooldown}: a number of epochs from 0 up is expected")
        if self.growth_cap is not None and not self.growth_cap > 1:
            raise ValueError(f"growth_cap={self.growth_cap}: a factor above 1 is expected, or null for no cap")
        if self.measure_every:
            whole_number("measure_every", self.measure_every, least=0)

    @property
    def needs(self) -> frozenset[Stat]:
        """The statistics that `observe` reads."""
        return frozenset()

    def only_grows(self) -> bool:
        """Whether the size never falls. At the maximum, nothing is measured for such a scheduler any more."""
        return False

    def measures(self, progress: Progress, samples: int) -> bool:
        """Whether the step of so many samples that starts at `progress` is to be measured, if there are needs at all.

        A rule that averages takes one step in every `measure_every` samples. Rules that must see certain steps say which.
        """
        return due(self.measure_every, progress, samples)

    def observe(self, seen: Observation) -> None:
        """Take note of a finished step."""

    @abstractmethod
    def propose(self, progress: Progress) -> float:
        """The size wished for the step that starts at `progress`, before any rounding or clipping. Changes nothing."""

    def signals(self) -> dict[str, float]:
        """What the trace shows of the rule's reasons, by name; always the same names."""
        return {}


def due(every: int, progress: Progress, samples: int) -> bool:
    """Whether the step of so many samples that starts at `progress` holds a multiple of `every`; 0: always."""
    return not every or -progress.samples % every < samples


def positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name}={value!r}: a finite number above 0 is expected")


def whole_number(name: str, value: int, *, least: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number from `least` up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: a whole number from {least} up is expected")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is among `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: {' or '.join(choices)} is expected")


def power(factor: float, exponent: float) -> float:
    """factor^exponent, infinite where a float cannot hold it: the range grants its maximum then."""
    try:
        return math.pow(factor, exponent)
    except OverflowError:
        return math.inf
