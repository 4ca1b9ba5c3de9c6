"""What a model is trained on and judged by."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from adaptive_bench.sizes import BatchShape
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
    sums_blocks: bool = False  # whether the loss is summed over a row's positions, so that it grows with the block

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss over the batch's samples, a scalar."""

    def sample_loss(self, loss: float, shape: BatchShape) -> float:
        """The mean loss of a sample, from what `loss` gave for a batch of that shape."""
        return loss

    @abstractmethod
    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        """The metric over the whole split, with the model in evaluation mode and back in training mode afterwards."""

    def state_dict(self) -> dict[str, Any]:
        """What the loss of the next batch depends on besides model and batch: nothing, unless a task says otherwise."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`. Raises ValueError for the state of another kind of task."""
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, got {sorted(state)}; go on with the data set that the checkpoint is of"
            )
