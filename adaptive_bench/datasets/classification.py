"""Classification: cross-entropy, and accuracy in percent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.datasets.base import Evaluation, Task
from adaptive_bench.execution.memory import Portions
from adaptive_bench.streams.base import Batch
from adaptive_bench.streams.images import ImageStream
from adaptive_bench.streams.vectors import VectorStream

EVALUATION_ROWS = 1000  # at most, of a forward pass in an evaluation


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out split: stored inputs, the function that prepares them for the model, and targets."""

    inputs: Tensor
    targets: Tensor
    prepare: Callable[[Tensor], Tensor]

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self.prepare(self.inputs[start:stop]), self.targets[start:stop]


class Classification(Task):
    """Softmax cross-entropy over `outputs` classes; with one output, logistic regression on labels 0 and 1."""

    metric = "accuracy"
    maximise = True
    has_blocks = False
    train: ImageStream | VectorStream

    def __init__(
        self, *, train: ImageStream | VectorStream, held_out: Mapping[str, HeldOut], inputs: Sequence[int], outputs: int
    ) -> None:
        self.train = train
        self.held_out = held_out
        self.inputs = inputs
        self.outputs = outputs
        self.portions = Portions(EVALUATION_ROWS)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._loss(model(batch.inputs), batch.targets, reduction="mean")

    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        held_out, count = self.held_out[split], self.size(split)

        def sums(start: int, stop: int) -> Tensor:
            inputs, targets = held_out.rows(start, stop)
            logits = model(inputs)
            chosen = logits.squeeze(1) > 0 if self.outputs == 1 else logits.argmax(1)
            return torch.stack((self._loss(logits, targets, reduction="sum").float(), (chosen == targets).sum().float()))

        model.eval()
        with torch.inference_mode():
            loss, correct = sum(self.portions(count, sums), torch.zeros(2, device=held_out.targets.device)).tolist()
        model.train()
        return Evaluation(value=100 * correct / count, loss=loss / count)

    def size(self, split: str) -> int:
        return len(self.held_out[split].targets)

    def sample_losses(self, model: nn.Module) -> Tensor:
        """The loss of each training sample (n,) in the data set's order, not the stream's, and without augmentation.

        Computed in evaluation mode; the model is in training mode afterwards.
        """

        def each(start: int, stop: int) -> Tensor:
            batch = self.train.plain(torch.arange(start, stop))
            return self._loss(model(batch.inputs), batch.targets, reduction="none")

        model.eval()
        with torch.inference_mode():
            losses = [*self.portions(self.train.epoch_samples, each)]
        model.train()
        return torch.cat(losses)  # outside inference mode, so that the result is an ordinary tensor

    def rank(self, scores: Tensor, *, span: float) -> None:
        """Order the training samples from low to high score; see `Order.rank`."""
        self.train.order.rank(scores, span=span)

    def _loss(self, logits: Tensor, targets: Tensor, *, reduction: str) -> Tensor:
        if self.outputs == 1:
            return F.binary_cross_entropy_with_logits(logits.squeeze(1), targets.to(logits.dtype), reduction=reduction)
        return F.cross_entropy(logits, targets, reduction=reduction)
