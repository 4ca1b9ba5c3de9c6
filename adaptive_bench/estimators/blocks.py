"""Rows of large tensors, a few at a time: what is computed from a block stays small, and fits the cache of a CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor


def blocks(inputs: Tensor, gradients: Tensor, *, rows: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """The chosen rows (None: all) of both tensors, contiguous, block by block."""
    size = block_size(inputs, gradients)
    count = len(inputs) if rows is None else len(rows)
    for start in range(0, count, size):
        block = slice(start, start + size)
        yield _take(inputs, rows, block), _take(gradients, rows, block)


def block_size(*tensors: Tensor) -> int:
    """Rows of a block."""
    limit = 2**18 if tensors[0].device.type == "cpu" else 2**24  # numbers
    return max(1, limit // max(tensor[0].numel() for tensor in tensors))


def wide(values: Tensor) -> Tensor:
    """Half precision as float32: squares would overflow."""
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values


def _take(tensor: Tensor, rows: Tensor | None, block: slice) -> Tensor:
    return wide(tensor[block] if rows is None else tensor.index_select(0, rows[block])).contiguous()
