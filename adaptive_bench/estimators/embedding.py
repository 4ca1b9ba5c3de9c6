"""The share of a row in the gradient of an embedding table."""

from typing import cast

import torch
from torch import Tensor, nn


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
