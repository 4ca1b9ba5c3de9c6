"""A stream of float vectors."""

from torch import Tensor

from adaptive_bench.streams.base import Batch
from adaptive_bench.streams.order import Order, Piece
from adaptive_bench.streams.permuted import PermutedStream


class VectorStream(PermutedStream):
    """Samples served unchanged: `inputs` (n, ...) and `targets` (n, ...), already on the device."""

    def __init__(self, inputs: Tensor, targets: Tensor, *, seed: int) -> None:
        super().__init__(Order(len(inputs), seed=seed, device=inputs.device))
        self.inputs = inputs
        self.targets = targets

    def _load(self, piece: Piece) -> Batch:
        return self.plain(self.order.indices(piece))

    def plain(self, indices: Tensor) -> Batch:
        """These samples of the data set; the position of the stream does not change."""
        on_device = indices.to(self.inputs.device)
        return Batch(self.inputs[on_device], self.targets[on_device])
