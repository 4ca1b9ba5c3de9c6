"""Which rows make up the next batch where rows differ in length: one algorithm for all policies of `batching=`."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adaptive_bench.streams.packing import pack
from adaptive_bench.validation import Count, Several, check_fields

Rows = NDArray[np.int64]  # numbers of rows
Cut = tuple[list[list[Rows]], list[list[Rows]]]  # whole batches and rests; a batch is its padded rows, each of one row or more


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBatching:
    """How rows of different lengths become batches of n rows.

    `group`: none takes the rows in the order of the epoch. sorted makes batches of neighbours in a pool of `pool` batches that is
    sorted by length, as Hugging Face's `group_by_length` does (its pool has 50). buckets sorts rows into `buckets` ranges of
    length that hold about the same number of tokens each, as lhotse does; batches never mix them. packed puts several rows into
    one of `block` positions, by best-fit decreasing within the pool, and n counts these.

    `count=tokens` makes the batch a budget of n times the mean length of a row: rows are added while rows x longest stays within
    it, as fairseq does. `pad_to=data` pads every row to the longest of all.
    """

    group: Literal["none", "sorted", "buckets", "packed"]
    count: Literal["rows", "tokens"] = "rows"
    pad_to: Literal["batch", "data"] = "batch"
    pool: Count = 100  # batches
    buckets: Several = 10
    block: Count = 128  # positions of a packed row

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def by_length(self) -> bool:
        """Whether rows of a batch share a length."""
        return self.group in ("sorted", "buckets")

    def edges(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The largest length of each bucket but the last, (buckets - 1,): all buckets hold about the same number of tokens."""
        ascending = np.sort(lengths)
        tokens = np.cumsum(ascending)
        shares = np.arange(1, self.buckets) / self.buckets * tokens[-1]
        found: NDArray[np.int64] = ascending[np.searchsorted(tokens, shares)]
        return found

    def draws(self, size: int, *, mean: float) -> int:
        """How many rows are drawn at once for batches of this size."""
        if self.group == "none":
            return size
        return max(1, round(self.pool * size * (self.block / mean if self.group == "packed" else 1)))

    def cut(self, held: Rows, lengths: NDArray[np.int64], *, size: int, mean: float, last: bool) -> Cut:
        """The batches that the held rows give, which are in the order of the epoch: whole ones, and rests.

        `lengths` are those of all rows, `last` says that no row is left to draw.
        """
        if self.group == "packed":
            return self._packed(held, lengths, size=size, last=last)
        groups = [held]
        if self.group == "sorted":
            groups = [held[np.argsort(-lengths[held], kind="stable")]]
        elif self.group == "buckets":
            bucket = np.searchsorted(self.edges(lengths), lengths[held])
            groups = [held[bucket == number] for number in range(self.buckets)]
        whole, rests = list[Rows](), list[Rows]()
        for rows in groups:
            stops = self._stops(lengths[rows], size=size, mean=mean)
            whole += np.split(rows, stops)[:-1]
            if len(rest := rows[stops[-1] if stops else 0 :]):
                rests.append(rest)
        return [list(batch[:, None]) for batch in whole], [list(batch[:, None]) for batch in rests]

    def _stops(self, lengths: NDArray[np.int64], *, size: int, mean: float) -> list[int]:
        """Where the whole batches of consecutive rows end."""
        if self.count == "rows":
            return list(range(size, len(lengths) + 1, size))
        budget, stops, start = round(size * mean), list[int](), 0
        while start < len(lengths):
            longest = np.maximum.accumulate(lengths[start : start + budget])  # a row has a token or more
            over = longest * np.arange(1, len(longest) + 1) > budget
            if not over.any():
                break  # another row might still fit
            start += max(1, int(over.argmax()))  # a row that is longer than the budget is a batch of its own
            stops.append(start)
        return stops

    def _packed(self, held: Rows, lengths: NDArray[np.int64], *, size: int, last: bool) -> Cut:
        bins = [held[np.asarray(places)] for places in pack(lengths[held], capacity=self.block)]
        usable = bins if last else bins[:-1]  # the bin opened last is still to be filled
        stops = range(0, len(usable) - size + 1, size)
        rest = usable[len(stops) * size :]
        return [usable[start : start + size] for start in stops], [rest] if rest else []

    def check(self, lengths: NDArray[np.int64], *, smallest: int) -> None:
        """Raises ValueError if the longest row fits into no batch of the smallest size, or into no packed row."""
        longest, mean = int(lengths.max()), float(lengths.mean())
        if self.group == "packed" and longest > self.block:
            raise ValueError(f"block={self.block}: the longest sentence has {longest} tokens; take block={longest} or more")
        if self.count == "tokens" and longest > round(smallest * mean):
            raise ValueError(
                f"count=tokens: the longest sentence has {longest} tokens, and a batch of {smallest} is a budget of "
                f"{round(smallest * mean)}; set batch_size.minimum to {-(-longest // int(mean))} or more"
            )
