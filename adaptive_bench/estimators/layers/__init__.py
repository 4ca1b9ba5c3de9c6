"""Squared norms of each row's share in a layer's parameter gradients.

The gradient of a mean loss is a sum over the rows of a batch, and in every layer here row i's share follows from row i of the
layer's input and of the gradient at its output. A share is summed over positions (pixels, tokens) before it is squared.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.layers.convolution import conv
from adaptive_bench.estimators.layers.linear import embedding, linear
from adaptive_bench.estimators.layers.normalisation import (
    BATCH_NORMS,
    batch_norm,
    batch_statistics,
    group_norm,
    layer_norm,
    sum_positions,
)
from adaptive_bench.estimators.tiles import blocks

# (module, x, d) -> (m,), from m rows x of the input and d of the gradient at the output
WEIGHT_RULES: dict[type[nn.Module], Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    nn.Linear: linear,
    nn.Conv1d: conv,
    nn.Conv2d: conv,
    nn.GroupNorm: group_norm,
    nn.LayerNorm: layer_norm,
    nn.Embedding: embedding,
}
COVERED = (*WEIGHT_RULES, *BATCH_NORMS)


def mean_sample_sq_norm(
    module: nn.Module,
    inputs: Tensor,
    gradients: Tensor,
    *,
    rows: Tensor | None = None,
    convolutions: dict[str, str] | None = None,
) -> Tensor:
    """Squared norms of the shares of the chosen rows (None: all) in the gradient of the module's trainable parameters: (m,).

    `gradients` is the derivative of the loss with respect to the module's output. Both tensors hold all rows of the batch.
    `convolutions` is where `conv` keeps the forms that were the fastest on a GPU.
    """
    weighted, biased = (_trainable(getattr(module, name, None)) for name in ("weight", "bias"))
    rule = _weight_rule(module, inputs, convolutions) if weighted else None
    parts = []
    for x, d in blocks(inputs, gradients, rows=rows, as_stored=isinstance(module, (nn.GroupNorm, *BATCH_NORMS))):
        part = d.new_zeros(len(d)) if rule is None else rule(x, d)
        parts.append(part + sum_positions(module, d).square().sum(1) if biased else part)
    return torch.cat(parts)


def _trainable(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.requires_grad


def _weight_rule(module: nn.Module, inputs: Tensor, convolutions: dict[str, str] | None) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(module, BATCH_NORMS):
        mean, variance = batch_statistics(module, inputs)  # of the whole batch, whichever rows are chosen
        return partial(batch_norm, module, mean=mean, variance=variance)
    rule = WEIGHT_RULES[type(module)]
    return partial(conv, module, chosen=convolutions) if rule is conv else partial(rule, module)
