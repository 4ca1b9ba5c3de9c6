"""A vector that comes in parts, one a parameter: norms and inner products without ever putting the parts together."""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.tiles import wide

Name = TypeVar("Name", bound=Hashable)


def total_sq_norm(parts: Iterable[Tensor]) -> float:
    """|v|^2."""
    norm = float(nn.utils.get_total_norm([wide(part) for part in parts]))
    return norm * norm  # infinite where norm**2 would raise OverflowError


def total(parts: Iterable[Tensor]) -> float:
    """The sum of the components of v."""
    sums = [wide(part).sum() for part in parts]
    return float(torch.stack(sums).sum()) if sums else 0.0


def inner_product(v: Mapping[Name, Tensor], w: Mapping[Name, Tensor]) -> float:
    """<v, w>; a part that one of the two lacks is zero."""
    return total(wide(v[name]) * wide(w[name]) for name in v if name in w)  # in the order of v: a sum depends on its order


def cosine(v: Mapping[Name, Tensor], w: Mapping[Name, Tensor]) -> float:
    """<v, w> / (|v| |w|); nan where one of the two is zero."""
    length = math.sqrt(total_sq_norm(v.values())) * math.sqrt(total_sq_norm(w.values()))
    return min(1.0, max(-1.0, inner_product(v, w) / length)) if length > 0 else math.nan


def component_variance(parts: Collection[Tensor], *, sq_norm: float) -> float:
    """|v|^2 / d - (mean component)^2 of a vector v in R^d that comes in parts, given sq_norm = |v|^2.

    What DEBA (Belias et al. 2025, arXiv 2511.03809) calls the variance of the gradient: it compares the coordinates of one
    vector, not gradients of different samples. Parameters without a gradient have no components.
    """
    dimensions = sum(part.numel() for part in parts)
    return max(0.0, sq_norm / dimensions - (total(parts) / dimensions) ** 2)  # a constant vector may round below 0
