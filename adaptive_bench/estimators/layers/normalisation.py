"""Normalisation layers: each row's share in the scale gradient is the sum over positions of d times the normalised input."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators.tiles import tile_size, wide

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def group_norm(module: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x, d: (m, c, *space).

    Only sums over positions are normalised, not the positions: on images stored channels-last this is faster than
    `F.group_norm`, and no slower on others.
    """
    norm = cast(nn.GroupNorm, module)
    x, d = _positions_last(x), _positions_last(d)
    mean = _mean_of_groups(x.mean(2), norm)
    deviations = x - mean[..., None]
    variance = _mean_of_groups(torch.linalg.vecdot(deviations, deviations) / x.shape[2], norm)
    return _sum_sq(torch.linalg.vecdot(deviations, d) * torch.rsqrt(variance + norm.eps))


def layer_norm(module: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x, d: (m, ..., *normalized_shape)."""
    norm = cast(nn.LayerNorm, module)
    return _sum_sq(sum_positions(module, F.layer_norm(x, norm.normalized_shape, eps=norm.eps).mul_(d)))


def batch_norm(module: nn.Module, x: Tensor, d: Tensor, *, mean: Tensor, variance: Tensor) -> Tensor:
    """x, d: (m, c, *space), mean, variance: (c,)."""
    norm = cast(nn.BatchNorm2d, module)
    deviations = _positions_last(x) - mean[:, None]
    return _sum_sq(torch.linalg.vecdot(deviations, _positions_last(d)) * torch.rsqrt(variance + norm.eps))


def batch_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and variance that the forward pass used, (c,): of the batch, or the running ones in eval mode.

    Two passes over blocks that stay in the cache, which is several times faster on a CPU than `torch.var_mean`.
    """
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        return norm.running_mean, norm.running_var
    shape, axes = (-1, *[1] * (inputs.ndim - 2)), (0, *range(2, inputs.ndim))
    parts, count = torch.split(inputs, tile_size(inputs)), inputs.numel() // inputs.shape[1]
    mean = torch.stack([wide(part).sum(axes) for part in parts]).sum(0) / count
    sq_deviations = torch.stack([(wide(part) - mean.view(shape)).square_().sum(axes) for part in parts]).sum(0)
    return mean, sq_deviations / count


def _positions_last(values: Tensor) -> Tensor:
    """(m, c, *space) -> (m, c, positions); a view of contiguous and of channels-last tensors."""
    return values.flatten(2) if values.ndim > 2 else values[..., None]


def _mean_of_groups(values: Tensor, norm: nn.GroupNorm) -> Tensor:
    """(m, c): each channel's value replaced by the mean over its group."""
    groups = values.reshape(len(values), norm.num_groups, -1)
    return groups.mean(2, keepdim=True).expand_as(groups).reshape(values.shape)


def _sum_sq(shares: Tensor) -> Tensor:
    """(m, ...) -> (m,)."""
    return shares.flatten(1).square().sum(1)


def sum_positions(module: nn.Module, values: Tensor) -> Tensor:
    """(m, channels), from a tensor shaped like the module's output: for d, each row's share in the bias gradient."""
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, module.out_features).sum(1)
    if isinstance(module, nn.LayerNorm):
        return values.reshape(len(values), -1, math.prod(module.normalized_shape)).sum(1)
    return values.flatten(2).sum(2) if values.ndim > 2 else values  # channels are in the second place
