"""A stream of float vectors."""

from torch import Tensor

from adaptive_bench.streams.base import Batch, Stream
from adaptive_bench.streams.order import Order, Piece


class VectorStream(Stream):
    """Samples as they are: `inputs` (n, ...) and `targets` (n, ...), already on the device."""

    def __init__(self, inputs: Tensor, targets: Tensor, *, seed: int) -> None:
        super().__init__(Order(len(inputs), seed=seed))
        self.inputs = inputs
        self.targets = targets

    def _load(self, piece: Piece) -> Batch:
        indices = self.order.indices(piece).to(self.inputs.device)
        return Batch(self.inputs[indices], self.targets[indices])
