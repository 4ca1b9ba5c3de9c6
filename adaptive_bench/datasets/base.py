"""What a model is trained on and judged by."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from adaptive_bench.streams.base import Batch, Stream


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`value` in the task's metric, `loss` the mean over the split's samples."""

    value: float
    loss: float


class Task(ABC):
    """A training stream, a loss, and a metric on two held-out splits: `validation` (as often as you like) and `test` (once)."""

    train: Stream
    metric: str
    maximise: bool  # whether more of the metric is better
    inputs: Sequence[int]  # shape of one sample
    outputs: int
    has_blocks: bool  # whether rows have a length that a block scheduler may set

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss over the batch's samples, a scalar."""

    @abstractmethod
    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        """The metric over the whole split, with the model in evaluation mode and back in training mode afterwards."""
