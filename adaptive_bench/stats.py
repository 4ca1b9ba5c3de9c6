"""The statistics that a step can measure, and the observation that it reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from adaptive_bench.sizes import BatchShape, Position


class Stat(StrEnum):
    """The statistics that can be measured, on the backward pass unless stated otherwise.

    g_i is the gradient of sample i's own loss, B the batch size, g = (1/B) sum_i g_i the batch gradient,
    G = E g_i and Sigma = Cov g_i. h_1 ... h_k are the mean gradients of k micro-batches.
    """

    GRAD_NORM = "grad_norm"  # |g|, of the batch gradient before any clipping
    GRAD_SQ_NORM = "grad_sq_norm"  # unbiased estimate of |G|^2; can be negative
    GRAD_VARIANCE = "grad_variance"  # unbiased estimate of tr(Sigma), the per-sample variance
    MEAN_SAMPLE_SQ_NORM = "mean_sample_sq_norm"  # mean over the batch of |g_i|^2
    EPOCH_GRAD_SQ_NORM = "epoch_grad_sq_norm"  # |sum of g_i|^2 over all samples measured since the epoch began
    COMPONENT_VARIANCE = "component_variance"  # spread of the d components of g: |g|^2 / d - (mean component)^2
    EPOCH_COMPONENT_VARIANCE = "epoch_component_variance"  # the same of the sum of g_i since the epoch began
    MICROBATCH_RATIO = "microbatch_ratio"  # (1/k) sum_j |h_j - g|^2 / |g|^2, equal micro-batches; at most k - 1 in expectation
    MICROBATCHES = "microbatches"  # k of that ratio
    HALVES_COSINE = "halves_cosine"  # cosine of the angle between the mean gradients of the batch's two halves
    INNER_PRODUCT_VARIANCE = "inner_product_variance"  # variance over samples of the inner product of g_i with g
    ENTROPY = "entropy"  # mean entropy of the softmax over log C, 0 to 1, on the training batch
    MEMORY_USED = "memory_used"  # peak of the pass over what the device has for it; infinite if it ran out and was split
    # n sum_i |g_i|^2 / |sum_i g_i|^2 over the n rows of the training set, at fixed weights: a pass over all of it
    DIVERSITY_BOUND = "diversity_bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One finished step. `position` is the position after it. `stats` holds the requested statistics, or nothing if the step
    was not measured. `evaluation` is the validation metric if it was just computed, negated if lower is better, so that higher
    is always better; `validation_loss` comes with it.
    """

    position: Position
    shape: BatchShape
    lr: float
    loss: float
    stats: Mapping[Stat, float]
    evaluation: float | None = None
    validation_loss: float | None = None
    size: int | None = None  # the granted size; None: `shape.batch`
    uncut: bool = True  # False if the step was smaller than granted: at the end of the budget, or of an epoch of text
    seconds: float = math.nan  # training time of the step

    @property
    def granted(self) -> int:
        return self.shape.batch if self.size is None else self.size

    def crossed(self, interval: float) -> bool:
        """Whether the step reached or passed a multiple of `interval` samples."""
        return self.position.samples // interval > (self.position.samples - self.shape.samples) // interval
