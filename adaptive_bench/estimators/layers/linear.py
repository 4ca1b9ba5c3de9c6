"""Linear layers and embeddings: squared norms of each row's share in the weight gradient."""

from typing import cast

import torch
from torch import Tensor, nn


def linear(_: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x: (m, ..., c), d: (m, ..., o)."""
    return outer_sq_norms(x.reshape(len(x), -1, x.shape[-1]), d.reshape(len(d), -1, d.shape[-1]))


def outer_sq_norms(x: Tensor, d: Tensor) -> Tensor:
    """|sum_t d_t x_t^T|^2 for x: (m, T, c) and d: (m, T, o).

    With few positions by Gram matrices, sum_{t,u} (x_t . x_u) (d_t . d_u) (Goodfellow 2015, arXiv 1510.01799, for T = 1; Li et
    al. 2022, arXiv 2110.05679, for T > 1), which never forms the product; otherwise by the product itself.
    """
    positions, inputs, outputs = x.shape[1], x.shape[2], d.shape[2]
    if positions == 1:
        return x.square().sum((1, 2)) * d.square().sum((1, 2))
    if positions * (inputs + outputs) < inputs * outputs:
        return (torch.bmm(x, x.mT) * torch.bmm(d, d.mT)).sum((1, 2))
    return torch.bmm(d.mT, x).square().sum((1, 2))


def embedding(module: nn.Module, indices: Tensor, d: Tensor) -> Tensor:
    """|sum_t onehot(index_t) d_t^T|^2 = sum_{t,u} [index_t = index_u] d_t . d_u for indices: (m, ...), d: (m, ..., e).

    Unlike sums by index it has one order of addition on every device, and a device is not asked how many indices there are.
    """
    words, d = indices.reshape(len(indices), -1), d.reshape(len(indices), -1, d.shape[-1])
    padding = cast(nn.Embedding, module).padding_idx
    if padding is not None:
        d = d.masked_fill((words == padding)[..., None], 0)  # torch gives the padding no gradient
    return (torch.bmm(d, d.mT) * (words[:, :, None] == words[:, None, :])).sum((1, 2))
