"""Language modelling on sentences: rows of different lengths, each with a beginning and an end of its own."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.datasets.base import Evaluation, Task, perplexity
from adaptive_bench.execution.memory import Portions
from adaptive_bench.streams.base import IGNORED, Batch
from adaptive_bench.streams.lengths import LengthBatching, Rows
from adaptive_bench.streams.sentences import SentenceStream, starts_of

EVALUATION_TOKENS = 4096  # at most, padding included, of a forward pass in an evaluation


class Sentences(Task):
    """Predict each token of a sentence from those before it. A sample is a token; no state passes from one sentence to the next.

    The loss is sum CE / N over the N real tokens of the whole batch: that of a part of its rows is sum CE / (rows x N / all
    rows), so parts that are weighted by their rows add up to it. (Averaging over the tokens of each part by itself would not.)
    The gradient of row i is thereby that of its mean loss times its length over the mean length.
    """

    metric = "perplexity"
    maximise = False
    inputs = ()  # a sample is one token id
    has_blocks = False
    train: SentenceStream

    def __init__(
        self, *, train: Tensor, held_out: Mapping[str, Tensor], vocabulary: int, end: int, seed: int, device: torch.device
    ) -> None:
        """Texts (n,) on the CPU, in which every sentence ends with the token `end`."""
        self.outputs, self.end, self.seed, self.device = vocabulary, end, seed, device
        self.portions = Portions(EVALUATION_TOKENS)
        self.held_out = {split: self._stream(text, LengthBatching(group="none")) for split, text in held_out.items()}
        self.train = self._stream(train, LengthBatching(group="none"))

    def _stream(self, text: Tensor, batching: LengthBatching) -> SentenceStream:
        tokens = text.numpy()
        starts = starts_of(tokens, end=self.end)
        return SentenceStream(
            tokens[: starts[-1]], starts=starts, end=self.end, seed=self.seed, batching=batching, device=self.device
        )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert batch.tokens_per_row is not None, "a batch of sentences"
        return _cross_entropy(model, batch) / (len(batch) * batch.tokens_per_row)

    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        """exp of the mean cross-entropy over all tokens of the split, whatever the batches of training are."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        model.eval()
        with torch.inference_mode():
            for _, batch in _by_length(self.held_out[split]):
                total = sum(self.portions(len(batch), partial(_of_rows, model, batch)), total)
        model.train()
        return perplexity(total, tokens=self.size(split))

    def size(self, split: str) -> int:
        return self.held_out[split].epoch_samples

    def sample_losses(self, model: nn.Module) -> Tensor:
        """The mean loss a token of each training sentence, in the data set's order.

        Computed in evaluation mode; the model is in training mode afterwards.
        """
        losses = torch.empty(self.train.most_rows)
        model.eval()
        with torch.inference_mode():
            for rows, batch in _by_length(self.train):
                each = torch.cat([*self.portions(len(batch), partial(_means, model, batch))])
                losses[torch.from_numpy(rows)] = each.float().cpu()
        model.train()
        return losses

    def rank(self, scores: Tensor, *, span: float) -> None:
        """Order the training sentences from low to high score; see `Order.rank`."""
        self.train.order.rank(scores, span=span)


def _means(model: nn.Module, batch: Batch, start: int, stop: int) -> Tensor:
    """The mean over the real tokens of each row."""
    rows = batch.rows(start, stop)
    logits, _ = model(rows.inputs, None)
    each = F.cross_entropy(logits.transpose(1, 2), rows.targets, ignore_index=IGNORED, reduction="none").sum(1)
    return each / (rows.targets != IGNORED).sum(1)


def _of_rows(model: nn.Module, batch: Batch, start: int, stop: int) -> Tensor:
    return _cross_entropy(model, batch.rows(start, stop))


def _cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """The sum over the real tokens of the batch."""
    packed = () if batch.segments is None else (batch.segments,)
    logits, _ = model(batch.inputs, None, *packed)  # (rows, block, vocabulary)
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")


def _by_length(stream: SentenceStream) -> Iterator[tuple[Rows, Batch]]:
    """All rows from the shortest to the longest, in batches of about EVALUATION_TOKENS positions."""
    rows = np.argsort(stream.lengths, kind="stable")
    start = 0
    while start < len(rows):
        # as many as there would be if all were as long as the longest of them; one at least
        longest = stream.lengths[rows[start:]]
        count = max(1, int((longest * np.arange(1, len(longest) + 1) <= EVALUATION_TOKENS).sum()))
        yield rows[start : start + count], stream.batch(list(rows[start : start + count, None]))
        start += count
