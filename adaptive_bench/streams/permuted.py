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
    def take(self, shape: BatchShape, *, left: int | None = None) -> Batch:
        """The next samples. A batch may cross an epoch boundary."""
        count = shape.samples if left is None else min(shape.samples, left)
        first, *others = (self._load(piece) for piece in self.order.advance(count))
        inputs = torch.cat([first.inputs, *(piece.inputs for piece in others)]) if others else first.inputs
        targets = torch.cat([first.targets, *(piece.targets for piece in others)]) if others else first.targets
        return Batch(inputs, targets, cut=count < shape.samples)

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
