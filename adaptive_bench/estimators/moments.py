"""The moments of the per-sample gradient, from any split of a batch into pieces."""

import math

from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.stats import Stat

MOMENTS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE, Stat.MEAN_SAMPLE_SQ_NORM})
RATIO = frozenset({Stat.MICROBATCH_RATIO, Stat.MICROBATCHES})
SPREAD = RATIO | {Stat.HALVES_COSINE, Stat.INNER_PRODUCT_VARIANCE}  # what gradients of pieces show beside moments
IN_PIECES = MOMENTS | SPREAD  # what takes more than the batch gradient


def moments(sq_norm: Scalar, *, samples: int, count: int, weighted_sq_norms: Scalar) -> dict[Stat, Scalar]:
    """Unbiased estimates from a batch of B samples seen as k pieces of b_j samples with mean gradients h_j.

    B is `samples`, k is `count`, `sq_norm` = |g|^2 of the batch gradient g = sum_j (b_j / B) h_j, and `weighted_sq_norms` =
    sum_j b_j |h_j|^2, or an unbiased estimate of it. A batch of one sample has no variance: nan, and so is GRAD_SQ_NORM.

    E|h_j|^2 = |G|^2 + tr(Sigma) / b_j gives E sum_j b_j |h_j|^2 = B |G|^2 + k tr(Sigma); E B |g|^2 = B |G|^2 + tr(Sigma).
    Their difference is (k - 1) tr(Sigma) for any sizes b_j. Equal sizes give the two-batch pair of McCandlish et al. (2018,
    arXiv 1812.06162, appendix A.1), k = B the sample variance B (s - |g|^2) / (B - 1) with s = (1/B) sum_i |g_i|^2.
    """
    if count < 2:
        return {Stat.GRAD_VARIANCE: math.nan, Stat.GRAD_SQ_NORM: math.nan, Stat.MEAN_SAMPLE_SQ_NORM: sq_norm}
    variance = (weighted_sq_norms - samples * sq_norm) / (count - 1)
    unbiased = sq_norm - variance / samples
    return {Stat.GRAD_VARIANCE: variance, Stat.GRAD_SQ_NORM: unbiased, Stat.MEAN_SAMPLE_SQ_NORM: unbiased + variance}
