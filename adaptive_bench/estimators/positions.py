"""Sums over the positions (pixels, tokens) inside a row."""

import math

from torch import Tensor, nn


def sum_positions(module: nn.Module, values: Tensor) -> Tensor:
    """(m, channels), from a tensor shaped like the module's output: for d, each row's share in the bias gradient."""
    if isinstance(module, nn.Linear):
        return values.reshape(len(values), -1, module.out_features).sum(1)
    if isinstance(module, nn.LayerNorm):
        return values.reshape(len(values), -1, math.prod(module.normalized_shape)).sum(1)
    return values.flatten(2).sum(2) if values.ndim > 2 else values  # channels are in the second place
