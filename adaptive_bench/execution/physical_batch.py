"""The physical batch: how many rows of a batch go through the model at once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.memory import Gauge
from adaptive_bench.schedulers.memory import Kind, MemoryControl
from adaptive_bench.stateful import Stateful
from adaptive_bench.streams.base import Batch
from adaptive_bench.validation import Count, check

UNLIKE_LATER = 3  # passes of the warm-up and of the first step, in which the optimiser allocates its state
LOOKED_AT = 4  # passes of a kind after each change of the memory's limit
LOOK_EVERY = 20  # passes, later on


def nearly_equal(total: int, parts: int) -> list[int]:
    """Sizes that add up to `total` and differ by one at most."""
    size, larger = divmod(total, parts)
    return [size + 1] * larger + [size] * (parts - larger)


@dataclass(kw_only=True)
class PhysicalBatch(Stateful):
    """Splits a batch into the fewest nearly equal chunks of at most `maximum` rows (None: any number).

    Where memory runs out, chunks are at most half as large from then on, which is part of the state. The gradient of a batch is
    the same however it is split, except that BatchNorm in train mode normalises by the statistics of a chunk.

    With a `gauge`, `memory` keeps the peak of memory below its limit: the first batch is the first limit, in padded positions of
    a chunk. Reading a peak costs time, so only the passes that tell something new are read, and one in twenty.
    """

    maximum: int | None = None
    gauge: Gauge | None = None
    memory: MemoryControl | None = None
    limit: int | None = field(default=None, init=False)  # rows; None: memory never ran out
    halvings: int = field(default=0, init=False)  # how often memory ran out
    peak: float = field(default=math.nan, init=False)  # the highest share of memory that was read
    control: MemoryControl | None = field(default=None, init=False)  # `memory`, whose state is part of this one's

    def __post_init__(self) -> None:
        check("max_physical_batch", self.maximum, Count | None)
        self.control = self.memory
        self._fitted: dict[bool, int] = {}  # positions of the largest batch so far that went through, measured or not
        self._passes = 0
        self._bound = False  # whether memory's limit cut the batch
        self._read: dict[bool, tuple[int, int]] = {}  # changes of the limit, and readings since the last one, measured or not

    def spans(self, first: int, end: int, *, width: int = 1) -> list[tuple[int, int]]:
        """The rows [first, end), of `width` positions each, as chunks [start, stop)."""
        if (rows := end - first) == 0:
            return []
        largest = min(bound for bound in (rows, self.maximum, self.limit) if bound is not None)
        if self.control is not None:
            self.control.limit = self.control.limit or rows * width
            held = max(1, self.control.limit // width)
            self._bound, largest = held < largest, min(held, largest)
        return list(pairwise(accumulate(nearly_equal(rows, math.ceil(rows / largest)), initial=first)))

    @contextmanager
    def watched(self, positions: int, *, measured: bool, clock: Clock) -> Iterator[None]:
        """Read the peak of a chunk of so many positions, where that is worth while."""
        self._passes += 1
        if self.gauge is None or self.control is None or not self._worth_reading(self.control.changes, measured=measured):
            yield
            return
        with clock.running("store"):
            self.gauge.reset()
        yield
        with clock.running("store"):
            kind: Kind = "measured" if measured else "plain"
            used = self.gauge.used()
            self.peak = max(used, self.peak) if self.peak == self.peak else used
            self.control.observe(positions, used, kind=kind, bound=self._bound)

    def _worth_reading(self, changes: int, *, measured: bool) -> bool:
        if self._passes <= UNLIKE_LATER:
            return False
        before, count = self._read.get(measured, (changes, 0))
        count = count + 1 if changes == before else 1
        self._read[measured] = changes, count
        return count <= LOOKED_AT or self._passes % LOOK_EVERY == 0

    def halve(self, rows: int, error: BaseException, *, width: int = 1) -> None:
        """Chunks of so many rows did not fit. Raises ValueError if that was a single one."""
        if rows <= 1:
            raise ValueError(
                "a single row does not fit into the device's memory, and a batch cannot be split further: take a smaller model, "
                "shorter blocks (block_size.maximum) or a device with more memory"
            ) from error
        self.halvings += 1
        if self.control is not None:
            self.control.exhausted(rows * width)
        else:
            self.limit = rows // 2

    def is_new(self, batch: Batch, *, measured: bool) -> bool:
        """Whether no batch of so many positions has gone through yet, so that memory may well run out."""
        return batch.shape.padded > self._fitted.get(measured, 0)

    def fitted(self, batch: Batch, *, measured: bool) -> None:
        """The batch has gone through."""
        self._fitted[measured] = max(batch.shape.padded, self._fitted.get(measured, 0))
