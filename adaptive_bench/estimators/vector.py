"""A vector that comes in parts, one a parameter: norms and inner products without ever putting the parts together.

They are float64 and stay where the parts are, so that a device computes on; `numbers` fetches them, all at once.
"""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.tiles import wide

Name = TypeVar("Name", bound=Hashable)
Scalar: TypeAlias = Tensor | float  # a tensor of no dimension, or a number


def numbers(values: Sequence[Scalar]) -> list[float]:
    """The values, for which the host waits for the device once."""
    there = [value.double() for value in values if isinstance(value, Tensor) and value.device.type != "cpu"]
    fetched = iter(torch.stack(there).tolist() if there else [])
    return [next(fetched) if isinstance(value, Tensor) and value.device.type != "cpu" else float(value) for value in values]


def total_sq_norm(parts: Iterable[Tensor]) -> Tensor:
    """|v|^2."""
    return nn.utils.get_total_norm([wide(part) for part in parts]).double().square()


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of the components of v."""
    sums = [wide(part).sum() for part in parts]
    return torch.stack(sums).sum().double() if sums else torch.zeros((), dtype=torch.float64)


def inner_product(v: Mapping[Name, Tensor], w: Mapping[Name, Tensor]) -> Tensor:
    """<v, w>; a part that one of the two lacks is zero."""
    return total(wide(v[name]) * wide(w[name]) for name in v if name in w)  # in the order of v: a sum depends on its order


def cosine(v: Mapping[Name, Tensor], w: Mapping[Name, Tensor]) -> Tensor:
    """<v, w> / (|v| |w|); nan where one of the two is zero."""
    length = total_sq_norm(v.values()).sqrt() * total_sq_norm(w.values()).sqrt()
    return torch.where(length > 0, (inner_product(v, w) / length).clamp(-1, 1), math.nan)


def component_variance(parts: Collection[Tensor], *, sq_norm: Scalar) -> Tensor:
    """|v|^2 / d - (mean component)^2 of a vector v in R^d that comes in parts, given sq_norm = |v|^2.

    What DEBA (Belias et al. 2025, arXiv 2511.03809) calls the variance of the gradient: it compares the coordinates of one
    vector, not gradients of different samples. Parameters without a gradient have no components.
    """
    dimensions = sum(part.numel() for part in parts)
    return (sq_norm / dimensions - (total(parts) / dimensions).square()).clamp(min=0)  # a constant vector may round below 0
