"""Language modelling: cross-entropy per token, and perplexity."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.datasets.base import Evaluation, Task, perplexity
from adaptive_bench.datasets.carried import CarriedState
from adaptive_bench.execution.memory import Portions
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import Batch
from adaptive_bench.streams.text import ColumnStream
from adaptive_bench.validation import Count, checked

LossReduction: TypeAlias = Literal["mean", "sum_time"]


class LanguageModelling(Task):
    """Predict the next token. The model maps token ids (rows, block) and a state to logits (rows, block, vocabulary) and a state.

    The state is carried from batch to batch. The loss is the mean cross-entropy over tokens; with `sum_time` it is the sum over
    the block and the mean over rows, as in Zaremba et al. (2014, arXiv 1409.2329), and its gradient grows with the block size.
    """

    metric = "perplexity"
    maximise = False
    has_blocks = True
    inputs = ()  # a sample is one token id

    @checked
    def __init__(
        self,
        *,
        train: Tensor,
        held_out: Mapping[str, Tensor],
        vocabulary: int,
        loss_reduction: LossReduction,
        evaluation_batch: Count,
        evaluation_block: Count,
    ) -> None:
        for name, tokens in {"train": train, **held_out}.items():
            _check_tokens(name, tokens, vocabulary=vocabulary)
        for name, tokens in held_out.items():
            if evaluation_batch > len(tokens) - 1:
                raise ValueError(
                    f"evaluation_batch={evaluation_batch}: the {name} split has only {len(tokens) - 1} tokens to predict; "
                    "take fewer columns or a larger split"
                )
        self.train = ColumnStream(train)
        self.held_out = held_out
        self.outputs = vocabulary
        self.sums_blocks = loss_reduction == "sum_time"
        self.evaluation_shape = BatchShape(evaluation_batch, evaluation_block)
        self.portions = Portions(evaluation_batch)
        self._carried = CarriedState()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        total = _cross_entropy(model, batch, self._carried)
        return total / (len(batch) if self.sums_blocks else batch.shape.samples)

    def sample_loss(self, loss: float, shape: BatchShape) -> float:
        return loss / shape.block if self.sums_blocks else loss

    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        """exp of the mean cross-entropy over all tokens of a split except the first, with the state carried.

        Columns and blocks are the same for every scheduler. The length of the blocks does not matter to a model that carries a
        state; for a model without a state the block is its context.
        """
        stream, carried = ColumnStream(self.held_out[split]), CarriedState()
        total = torch.zeros((), dtype=torch.float64, device=self.held_out[split].device)
        shape = replace(self.evaluation_shape, block=min(self.evaluation_shape.block, stream.epoch_samples))
        model.eval()
        with torch.inference_mode():
            while stream.epoch == 0:
                batch = stream.take(shape)
                total = sum(self.portions(len(batch), partial(_of_rows, model, batch, carried)), total)
        model.train()
        return perplexity(total, tokens=self.size(split))

    def size(self, split: str) -> int:
        return len(self.held_out[split]) - 1  # the first token is not predicted

    def share(self, batch: Batch, ranks: Ranks) -> None:
        self._carried.share(batch, ranks)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch."""
        return self._carried.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._carried.load_state_dict(state)


def _of_rows(model: nn.Module, batch: Batch, carried: CarriedState, start: int, stop: int) -> Tensor:
    return _cross_entropy(model, batch.rows(start, stop), carried)


def _cross_entropy(model: nn.Module, batch: Batch, carried: CarriedState) -> Tensor:
    """The sum over the tokens of the batch."""
    logits, state = model(batch.inputs, carried.before(batch))  # (rows, block, vocabulary)
    carried.keep(batch, state)
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")


def _check_tokens(name: str, tokens: Tensor, *, vocabulary: int) -> None:
    if len(tokens) < 2:
        raise ValueError(
            f"the {name} split has {len(tokens)} tokens: at least two are expected, since one token predicts the next"
        )
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise ValueError(
            f"the {name} split has token ids from {tokens.min()} to {tokens.max()}: 0 to {vocabulary - 1} are expected for a "
            f"vocabulary of {vocabulary}"
        )
