"""The share of a row in the scale gradient of a normalisation layer: the sum over positions of d times the normalised input."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators.blocks import block_size, wide
from adaptive_bench.estimators.positions import sum_positions

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def group_norm(module: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x, d: (m, c, *space)."""
    norm = cast(nn.GroupNorm, module)
    return _scale_sq_norms(norm, F.group_norm(x, norm.num_groups, eps=norm.eps), d)


def layer_norm(module: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x, d: (m, ..., *normalized_shape)."""
    norm = cast(nn.LayerNorm, module)
    return _scale_sq_norms(norm, F.layer_norm(x, norm.normalized_shape, eps=norm.eps), d)


def batch_norm(module: nn.Module, x: Tensor, d: Tensor, *, mean: Tensor, variance: Tensor) -> Tensor:
    """x, d: (m, c, *space), mean, variance: (c, 1, ...)."""
    norm = cast(nn.BatchNorm2d, module)
    return _scale_sq_norms(norm, (x - mean) * torch.rsqrt(variance + norm.eps), d)


def batch_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and variance that the forward pass used, (c, 1, ...): of the batch, or the running ones in eval mode.

    Two passes over blocks that stay in the cache, which is several times faster on a CPU than `torch.var_mean`.
    """
    shape, axes = (-1, *[1] * (inputs.ndim - 2)), (0, *range(2, inputs.ndim))
    if not norm.training and norm.running_mean is not None and norm.running_var is not None:
        return norm.running_mean.view(shape), norm.running_var.view(shape)
    parts, count = torch.split(inputs, block_size(inputs)), inputs.numel() // inputs.shape[1]
    mean = torch.stack([wide(part).sum(axes) for part in parts]).sum(0).view(shape) / count
    sq_deviations = torch.stack([(wide(part) - mean).square_().sum(axes) for part in parts]).sum(0)
    return mean, sq_deviations.view(shape) / count


def _scale_sq_norms(module: nn.Module, normalised: Tensor, d: Tensor) -> Tensor:
    return sum_positions(module, normalised.mul_(d)).square().sum(1)
