"""Streams that serve each epoch in a new random order."""

from abc import abstractmethod
from typing import Any, final

import torch

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import Batch, Stream
from adaptive_bench.streams.order import Order, Piece


class PermutedStream(Stream):
    """Every epoch is a permutation of the samples, determined by seed and epoch."""

    def __init__(self, order: Order) -> None:
        self.order = order

    @property
    @final
    def epoch_samples(self) -> int:
        return self.order.length

    @final
    def take(self, shape: BatchShape) -> Batch:
        """The next `shape.samples` samples. A batch may cross an epoch boundary."""
        pieces = [self._load(piece) for piece in self.order.advance(shape.samples)]
        if len(pieces) == 1:
            return pieces[0]
        return Batch(torch.cat([piece.inputs for piece in pieces]), torch.cat([piece.targets for piece in pieces]))

    @abstractmethod
    def _load(self, piece: Piece) -> Batch:
        """The samples at one epoch's positions piece.start to piece.stop."""

    @final
    def restart_epoch(self) -> None:
        self.order.seek(self.order.epoch, 0)

    @final
    def state_dict(self) -> dict[str, Any]:
        """{"epoch", "position"}"""
        return {"epoch": self.order.epoch, "position": self.order.position}

    @final
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order.seek(state["epoch"], state["position"])
