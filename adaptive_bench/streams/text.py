"""A stream of text: parallel columns, read in blocks whose length may change at any step."""

from typing import Any, final

import torch
from torch import Tensor

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import Batch, Place, Stream


@final
class ColumnStream(Stream):
    """Token ids (n,), served as inputs (rows, block) and as targets, the next tokens.

    An epoch has n - 1 samples: every token except the first is a target once. The n - 1 pairs are laid out as `shape.batch`
    columns whose lengths differ by at most one, and a batch is the next `shape.block` positions of every column (Zaremba et al.
    2014, arXiv 1409.2329). The block may change at any step. A new batch size lays out the
    rest of the epoch again: the unread ends of the old columns are joined in order and cut into new columns.

    A batch is smaller than requested at the end of the columns: a block does not extend past them, and the last block holds only
    the columns that are longer by one. No batch crosses an epoch boundary, where the whole text is laid out again.
    """

    def __init__(self, tokens: Tensor) -> None:
        if tokens.dim() != 1 or tokens.dtype != torch.int64 or len(tokens) < 2:
            raise ValueError(
                f"a text of {tokens.dtype} and shape {tuple(tokens.shape)}: a vector of at least two token ids is expected, int64"
            )
        self.tokens = tokens
        self._start(epoch=0)

    def _start(self, *, epoch: int) -> None:
        self.epoch, self.position = epoch, 0
        self._finished: list[list[int]] = []  # earlier layouts of this epoch: number of columns, positions read per column
        self._columns: _Columns | None = None

    @property
    def epoch_samples(self) -> int:
        return len(self.tokens) - 1

    def take(self, shape: BatchShape, *, left: int | None = None) -> Batch:
        """The next block of every column. Raises ValueError for more columns or a longer block than the whole text has."""
        asked, shape = shape, shape if left is None else shape.within(left)
        if max(shape.batch, shape.block) > self.epoch_samples:
            raise ValueError(
                f"batch size {shape.batch}, block size {shape.block}: this text has {self.epoch_samples} tokens to predict; "
                "lower batch_size.maximum or block_size.maximum, or take more text"
            )
        columns = self._laid_out(shape.batch)
        rows, restarts = columns.rows, columns.read == 0
        inputs, targets = columns.advance(shape.block)
        place = Place(epoch=self.epoch, position=self.position, samples=targets.numel(), rows=rows, resets_state=restarts)
        self.position += place.samples
        if self.position == self.epoch_samples:
            self._start(epoch=self.epoch + 1)
        return Batch(inputs, targets, place, cut=targets.shape != (asked.batch, asked.block))

    def _laid_out(self, count: int) -> "_Columns":
        """The current columns; new ones if `count` is neither their number nor the number of unfinished columns."""
        if self._columns is None:
            self._columns = _Columns(self.tokens[:-1], self.tokens[1:], count=count)
        elif count not in (self._columns.wanted, self._columns.rows):
            self._finished.append([self._columns.wanted, self._columns.read])
            self._columns = _Columns(*self._columns.rest(), count=count)
        return self._columns

    def restart_epoch(self) -> None:
        self._start(epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """{"epoch", "position", "layouts"}; a layout is its number of columns and the positions read per column."""
        present = [] if self._columns is None else [[self._columns.wanted, self._columns.read]]
        return {"epoch": self.epoch, "position": self.position, "layouts": [*map(list, self._finished), *present]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        left, columns = (self.tokens[:-1], self.tokens[1:]), None
        plausible = state["epoch"] >= 0
        for count, read in state["layouts"]:
            plausible = plausible and min(count, read, len(left[1])) > 0
            if plausible:
                columns = _Columns(*left, count=count, read=read)
                left = columns.rest()
        position = self.epoch_samples - len(left[1])
        if not plausible or state["position"] != position or position == self.epoch_samples:
            raise ValueError(
                f"epoch {state['epoch']}, position {state['position']}, columns {state['layouts']} do not fit a text with "
                f"{self.epoch_samples} tokens to predict; resume with the text that the checkpoint was made from"
            )
        self._start(epoch=state["epoch"])
        self.position, self._columns = position, columns
        self._finished = [list(layout) for layout in state["layouts"][:-1]]


class _Columns:
    """Input-target pairs (m,) cut into columns of equal length; the first `longer` columns have one more pair."""

    def __init__(self, inputs: Tensor, targets: Tensor, *, count: int, read: int = 0) -> None:
        self.wanted = count
        self.read = read  # positions read of each column
        self._inputs, self._targets = inputs, targets
        count = min(count, len(targets))
        self._length, self._longer = divmod(len(targets), count)
        numbers = torch.arange(count, device=targets.device)
        self._starts = numbers * self._length + numbers.clamp(max=self._longer)

    @property
    def rows(self) -> int:
        """Number of unfinished columns."""
        return len(self._starts) if self.read < self._length else self._longer

    def advance(self, block: int) -> tuple[Tensor, Tensor]:
        """The next positions of every unfinished column: inputs and targets of shape (rows, at most block)."""
        rows = self.rows
        stop = min(self.read + block, self._length) if self.read < self._length else self._length + 1
        index = self._starts[:rows, None] + torch.arange(self.read, stop, device=self._starts.device)  # (rows, block)
        self.read = stop
        return self._inputs[index], self._targets[index]

    def rest(self) -> tuple[Tensor, Tensor]:
        """The unread pairs, in the order of the text."""
        lengths = torch.full_like(self._starts, self._length)
        lengths[: self._longer] += 1
        numbers = torch.arange(len(self._targets), device=self._starts.device)
        unread = numbers - self._starts.repeat_interleave(lengths) >= self.read
        return self._inputs[unread], self._targets[unread]
