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
    """indices: (m, ...), d: (m, ..., e). Gradients at equal indices of a row add up before they are squared."""
    table = cast(nn.Embedding, module)
    rows, words, width = len(indices), table.num_embeddings, table.embedding_dim
    first = words * torch.arange(rows, device=indices.device)  # every row gets a table of its own
    entries, place = torch.unique(indices.reshape(rows, -1) + first[:, None], return_inverse=True)
    sums = d.new_zeros(len(entries), width).index_add_(0, place.flatten(), d.reshape(-1, width))
    sq_norms = sums.square().sum(1)
    if table.padding_idx is not None:
        sq_norms = sq_norms.masked_fill(entries % words == table.padding_idx, 0)  # torch gives the padding no gradient
    return d.new_zeros(rows).index_add_(0, entries // words, sq_norms)
