"""The spread of the components of a gradient vector."""

from collections.abc import Collection

from torch import Tensor

from adaptive_bench.estimators.vector import total


def component_variance(parts: Collection[Tensor], *, sq_norm: float) -> float:
    """|v|^2 / d - (mean component)^2 of a vector v in R^d that comes in parts, given sq_norm = |v|^2.

    What DEBA (Belias et al. 2025, arXiv 2511.03809) calls the variance of the gradient: it compares the coordinates of one
    vector, not gradients of different samples. Parameters without a gradient have no components.
    """
    dimensions = sum(part.numel() for part in parts)
    return max(0.0, sq_norm / dimensions - (total(parts) / dimensions) ** 2)  # a constant vector may round below 0
