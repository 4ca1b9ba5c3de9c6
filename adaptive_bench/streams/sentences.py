"""A stream of sentences: rows of different lengths, grouped into batches by a `LengthBatching`."""

from typing import Any, final

import numpy as np
import torch

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import IGNORED, Batch, Stream
from adaptive_bench.streams.lengths import LengthBatching, Rows
from adaptive_bench.streams.order import Order, Piece, epoch_generator


@final
class SentenceStream(Stream):
    """Sentences as rows of token ids, each ended by the token `end`; a sample is a token that is predicted.

    A row of l tokens predicts all of them: its inputs are `end` and its first l - 1 tokens. Targets are padded with -1, which the
    loss ignores, inputs with `end`.

    An epoch serves every row once, for any sequence of sizes. Rows are drawn from the epoch's permutation in pools and held until
    a batch takes them. Of the whole batches that the held rows give, one is picked at random, so that lengths come in no order;
    if they give none, the next pool is drawn. Rests are served at the end of an epoch, and no batch crosses it. The order of the
    rows is therefore a function of seed, epoch and past sizes.
    """

    def __init__(
        self, tokens: Rows, *, starts: Rows, end: int, seed: int, batching: LengthBatching, device: torch.device
    ) -> None:
        """`tokens` (n,) are the rows one after another, row i being starts[i] to starts[i + 1] - 1; starts has an entry more."""
        self.tokens, self.starts, self.end, self.device = tokens, starts, end, device
        self.lengths = np.diff(starts)
        if len(self.lengths) == 0 or self.lengths.min() < 1:
            shortest = self.lengths.min() if len(self.lengths) else 0
            raise ValueError(
                f"{len(self.lengths)} sentences, the shortest of {shortest} tokens: at least one is expected, and in each a token"
            )
        self.mean = float(self.lengths.mean())
        self.order = Order(len(self.lengths), seed=seed)
        self.batching = batching
        self._start(epoch=0)

    def _start(self, *, epoch: int) -> None:
        self.epoch, self.position, self.read = epoch, 0, 0
        self.held: Rows = np.empty(0, np.int64)

    @property
    def epoch_samples(self) -> int:
        return len(self.tokens)

    @property
    def most_rows(self) -> int:
        return len(self.lengths)

    def take(self, shape: BatchShape, *, left: int | None = None) -> Batch:
        whole, rests = self._cut(shape.batch)
        choice = whole or rests
        generator = epoch_generator(self.order.seed, self.epoch, purpose=6, place=self.position)
        batch = choice[int(torch.randint(len(choice), (), generator=generator))]
        taken = np.concatenate(batch)
        self.held = self.held[~np.isin(self.held, taken)]
        made = self.batch(batch, left=left, cut=not whole)
        self.position += int(self.lengths[taken].sum())
        if self.position == self.epoch_samples:
            self._start(epoch=self.epoch + 1)
        return made

    def _cut(self, size: int) -> tuple[list[list[Rows]], list[list[Rows]]]:
        """Whole batches and rests of the held rows; draws more rows until there is a whole one or nothing is left to draw."""
        while True:
            last = self.read == self.most_rows
            whole, rests = self.batching.cut(self.held, self.lengths, size=size, mean=self.mean, last=last)
            if whole or last:
                return whole, rests
            stop = min(self.most_rows, self.read + self.batching.draws(size, mean=self.mean))
            drawn = self.order.indices(Piece(self.epoch, self.read, stop)).numpy()
            self.held, self.read = np.concatenate([self.held, drawn]), stop

    def batch(self, batch: list[Rows], *, left: int | None = None, cut: bool = False) -> Batch:
        """The padded tensors of these rows, only their first `left` tokens where there are more; `cut` if it is a rest."""
        rows, counts = np.concatenate(batch), [len(line) for line in batch]
        lengths = self.lengths[rows]
        offsets = _places(lengths, counts)  # of each row in its line
        real = int(lengths.sum()) if left is None else min(int(lengths.sum()), left)
        place = _places(np.ones(lengths.sum(), np.int64), lengths)[:real]  # of each token in its row
        source = np.repeat(self.starts[rows], lengths)[:real] + place
        line = np.repeat(np.repeat(np.arange(len(batch)), counts), lengths)[:real]
        column = np.repeat(offsets, lengths)[:real] + place
        shape = int(line[-1]) + 1, self._width(line, column)
        targets, inputs, numbers = np.full(shape, IGNORED), np.full(shape, self.end), np.full(shape, -1)
        targets[line, column] = self.tokens[source]
        inputs[line, column] = np.where(place == 0, self.end, self.tokens[source - (place > 0)])
        numbers[line, column] = np.repeat(_places(np.ones(len(rows), np.int64), counts), lengths)[:real]
        on_device = [torch.from_numpy(part).to(self.device, non_blocking=True) for part in (inputs, targets, numbers)]
        return Batch(
            inputs=on_device[0],
            targets=on_device[1],
            tokens_per_row=real / shape[0],
            real=real,
            segments=on_device[2] if self.batching.group == "packed" else None,
            cut=cut or bool(real < lengths.sum()),
        )

    def _width(self, line: Rows, column: Rows) -> int:
        if self.batching.group == "packed":
            return self.batching.block
        return int(self.lengths.max() if self.batching.pad_to == "data" else column.max() + 1)

    def restart_epoch(self) -> None:
        self._start(epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """{"epoch", "position", "read", "held"}: rows read of the epoch's permutation, and those of them not yet served."""
        return {"epoch": self.epoch, "position": self.position, "read": self.read, "held": self.held.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # {"epoch", "position"} alone is the beginning of an epoch
        epoch, read, held = state["epoch"], state.get("read", 0), np.asarray(state.get("held", []), dtype=np.int64)
        if epoch >= 0 and 0 <= read <= self.most_rows:
            drawn = self.order.indices(Piece(epoch, 0, read)).numpy()
            served = int(self.lengths[drawn].sum() - self.lengths[held[held < self.most_rows]].sum())
            if np.isin(held, drawn).all() and len(np.unique(held)) == len(held) and served == state["position"]:
                self.epoch, self.position, self.read, self.held = epoch, served, read, held
                return
        raise ValueError(
            f"epoch {epoch}, position {state['position']}, {read} rows read and {len(held)} held do not fit {self.most_rows} "
            "sentences; resume with the data set that the checkpoint was made from"
        )


def _places(lengths: Rows, counts: Rows | list[int]) -> Rows:
    """The running sum of the lengths before each entry, starting anew after every counts[0], counts[1], ... entries."""
    before = np.cumsum(lengths) - lengths
    first = np.cumsum(counts) - np.asarray(counts)
    places: Rows = before - np.repeat(before[first], counts)
    return places


def starts_of(tokens: Rows, *, end: int) -> Rows:
    """Where the rows of a text start in which every row ends with the token `end`; an entry more than there are rows."""
    starts: Rows = np.concatenate([[0], np.flatnonzero(tokens == end) + 1])
    return starts
