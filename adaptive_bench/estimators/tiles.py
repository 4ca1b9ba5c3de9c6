"""Rows of large tensors, a few at a time: what is computed from a block stays small, and fits the cache of a CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor


def blocks(inputs: Tensor, gradients: Tensor, *, rows: Tensor | None, as_stored: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """The chosen rows (None: all) of both tensors, block by block: contiguous, or in the memory format they are stored in."""
    size = tile_size(inputs, gradients)
    count = len(inputs) if rows is None else len(rows)
    take = _take if as_stored else _take_contiguous
    for start in range(0, count, size):
        block = slice(start, start + size) if rows is None else rows[start : start + size]
        yield take(inputs, block), take(gradients, block)


def tile_size(*tensors: Tensor) -> int:
    """Rows of a block."""
    limit = 2**18 if tensors[0].device.type == "cpu" else 2**24  # numbers
    return max(1, limit // max(tensor[0].numel() for tensor in tensors))


def wide(values: Tensor) -> Tensor:
    """Half precision as float32: squares would overflow."""
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values


def _take(tensor: Tensor, block: slice | Tensor) -> Tensor:
    if isinstance(block, Tensor) and tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return wide(tensor.permute(0, 2, 3, 1).index_select(0, block).permute(0, 3, 1, 2))
    return wide(tensor[block] if isinstance(block, slice) else tensor.index_select(0, block))


def _take_contiguous(tensor: Tensor, block: slice | Tensor) -> Tensor:
    # index_select gives contiguous rows whatever it takes them from, at once
    return wide(tensor[block] if isinstance(block, slice) else tensor.index_select(0, block)).contiguous()
