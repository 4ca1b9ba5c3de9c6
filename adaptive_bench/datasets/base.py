"""The interface of a task: its training data, its loss and its metric."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import Batch, Stream


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`value` is the task's metric, `loss` the mean loss over the samples of the split."""

    value: float
    loss: float


def perplexity(total: Tensor, *, tokens: int) -> Evaluation:
    """exp of the mean cross-entropy, given its float64 sum over so many tokens; infinite where math.exp would overflow."""
    loss = total / tokens
    value, of_loss = torch.stack((loss.exp(), loss)).tolist()  # one wait for the device
    return Evaluation(value=value, loss=of_loss)


class Task(ABC):
    """A training stream, a loss, and a metric on two held-out splits: `validation` (often) and `test` (once)."""

    train: Stream
    metric: str
    maximise: bool  # whether a higher metric is better
    inputs: Sequence[int]  # shape of one sample
    outputs: int
    has_blocks: bool  # whether a block scheduler may set the length of rows
    sums_blocks: bool = False  # whether the loss sums over the positions of a row, and so grows with the block

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss over the batch's samples, a scalar."""

    def sample_loss(self, loss: float, shape: BatchShape) -> float:
        """The mean loss per sample, given the value of `loss` for a batch of this shape."""
        return loss

    @abstractmethod
    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        """The metric over the whole split, in evaluation mode; the model is in training mode afterwards."""

    @abstractmethod
    def size(self, split: str) -> int:
        """The number of samples that `evaluate` takes the mean over: rows, or the predicted tokens of a text."""

    def share(self, batch: Batch, ranks: Ranks) -> None:
        """Give the other ranks what this one's rows of the batch left for the next loss; by default nothing."""
        return

    def state_dict(self) -> dict[str, Any]:
        """What the next loss depends on besides model and batch; by default nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`. Raises ValueError for the state of another kind of task."""
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, got {sorted(state)}; resume with the data set of the checkpoint"
            )
