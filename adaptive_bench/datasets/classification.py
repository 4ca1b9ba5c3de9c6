"""Classification: cross-entropy, and accuracy in percent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.datasets.base import Evaluation, Task
from adaptive_bench.streams.base import Batch
from adaptive_bench.streams.images import ImageStream
from adaptive_bench.streams.vectors import VectorStream

EVALUATION_ROWS = 1000  # rows per forward pass in an evaluation


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A held-out split: stored inputs, the function that prepares them for the model, and targets."""

    inputs: Tensor
    targets: Tensor
    prepare: Callable[[Tensor], Tensor]

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in zip(*(torch.split(part, EVALUATION_ROWS) for part in (self.inputs, self.targets)), strict=True):
            yield self.prepare(inputs), targets


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

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._loss(model(batch.inputs), batch.targets, reduction="mean")

    def evaluate(self, model: nn.Module, split: str) -> Evaluation:
        held_out = self.held_out[split]
        loss, correct = torch.zeros(2, device=held_out.targets.device)
        model.eval()
        with torch.inference_mode():
            for inputs, targets in held_out.chunks():
                logits = model(inputs)
                loss = loss + self._loss(logits, targets, reduction="sum")
                chosen = logits.squeeze(1) > 0 if self.outputs == 1 else logits.argmax(1)
                correct = correct + (chosen == targets).sum()
        model.train()
        (of_loss, of_correct), count = torch.stack((loss, correct)).tolist(), self.size(split)  # one wait for the device
        return Evaluation(value=100 * of_correct / count, loss=of_loss / count)

    def size(self, split: str) -> int:
        return len(self.held_out[split].targets)

    def sample_losses(self, model: nn.Module) -> Tensor:
        """The loss of each training sample (n,) in the data set's order, not the stream's, and without augmentation.

        Computed in evaluation mode; the model is in training mode afterwards.
        """
        model.eval()
        with torch.inference_mode():
            losses = []
            for indices in torch.split(torch.arange(self.train.epoch_samples), EVALUATION_ROWS):
                batch = self.train.plain(indices)
                losses.append(self._loss(model(batch.inputs), batch.targets, reduction="none"))
        model.train()
        return torch.cat(losses)  # outside inference mode, so that the result is an ordinary tensor

    def rank(self, scores: Tensor, *, span: float) -> None:
        """Order the training samples from low to high score; see `Order.rank`."""
        self.train.order.rank(scores, span=span)

    def _loss(self, logits: Tensor, targets: Tensor, *, reduction: str) -> Tensor:
        if self.outputs == 1:
            return F.binary_cross_entropy_with_logits(logits.squeeze(1), targets.to(logits.dtype), reduction=reduction)
        return F.cross_entropy(logits, targets, reduction=reduction)
