"""The physical batch: how many rows of a batch go through the model at once."""

import math
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import torch

from adaptive_bench.stateful import Stateful
from adaptive_bench.streams.base import Batch
from adaptive_bench.validation import Count, check


def nearly_equal(total: int, parts: int) -> list[int]:
    """Sizes that add up to `total` and differ by one at most."""
    size, larger = divmod(total, parts)
    return [size + 1] * larger + [size] * (parts - larger)


@dataclass(kw_only=True)
class PhysicalBatch(Stateful):
    """Splits a batch into the fewest nearly equal chunks of at most `maximum` rows (None: any number).

    Where memory runs out, chunks are at most half as large from then on, which is part of the state. The gradient of a batch is
    the same however it is split, except that BatchNorm in train mode normalises by the statistics of a chunk.
    """

    maximum: int | None = None
    limit: int | None = field(default=None, init=False)  # rows; None: memory never ran out

    def __post_init__(self) -> None:
        check("max_physical_batch", self.maximum, Count | None)
        self._fitted: dict[bool, int] = {}  # samples of the largest batch so far that went through, measured or not

    def spans(self, first: int, end: int) -> list[tuple[int, int]]:
        """The rows [first, end) as chunks [start, stop)."""
        if (rows := end - first) == 0:
            return []
        largest = min(bound for bound in (rows, self.maximum, self.limit) if bound is not None)
        return list(pairwise(accumulate(nearly_equal(rows, math.ceil(rows / largest)), initial=first)))

    def halve(self, rows: int, error: torch.OutOfMemoryError) -> None:
        """Chunks of so many rows did not fit. Raises ValueError if that was a single one."""
        if rows <= 1:
            raise ValueError(
                "a single row does not fit into the device's memory, and a batch cannot be split further: take a smaller model, "
                "shorter blocks (block_size.maximum) or a device with more memory"
            ) from error
        self.limit = rows // 2

    def is_new(self, batch: Batch, *, measured: bool) -> bool:
        """Whether no batch of so many samples has gone through yet, so that memory may well run out."""
        return batch.shape.samples > self._fitted.get(measured, 0)

    def fitted(self, batch: Batch, *, measured: bool) -> None:
        """The batch has gone through."""
        self._fitted[measured] = max(batch.shape.samples, self._fitted.get(measured, 0))
