"""Where batches come from: a stream is asked for a size at each step, not told one at birth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptive_bench.size import BatchShape
from adaptive_bench.streams.order import Order, Piece


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `targets`, both with one row a sample."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, start: int, stop: int) -> "Batch":
        return Batch(self.inputs[start:stop], self.targets[start:stop])


class Stream(ABC):
    """An endless, reproducible sequence of samples: epoch after epoch, each a permutation fixed by seed and epoch.

    Every epoch holds every sample exactly once, whatever the sizes asked for.
    """

    def __init__(self, order: Order) -> None:
        self.order = order

    @property
    def epoch_samples(self) -> int:
        """Samples an epoch."""
        return self.order.length

    def take(self, shape: BatchShape) -> Batch:
        """The next `shape.samples` samples. Any size at any step; a batch may cross the border between two epochs."""
        pieces = [self._load(piece) for piece in self.order.advance(shape.samples)]
        if len(pieces) == 1:
            return pieces[0]
        return Batch(torch.cat([piece.inputs for piece in pieces]), torch.cat([piece.targets for piece in pieces]))

    @abstractmethod
    def _load(self, piece: Piece) -> Batch:
        """The samples at one epoch's positions piece.start to piece.stop."""

    def state_dict(self) -> dict[str, Any]:
        """{"epoch", "position"}: the position is counted in samples inside the epoch."""
        return {"epoch": self.order.epoch, "position": self.order.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for a position outside the epoch: a checkpoint of other data."""
        self.order.seek(state["epoch"], state["position"])
