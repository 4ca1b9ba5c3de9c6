"""The order of the samples: a permutation an epoch, and the position in it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Piece:
    """Positions start (included) to stop (excluded) of one epoch."""

    epoch: int
    start: int
    stop: int


class Order:
    """Which sample comes when: the permutation of an epoch is a function of (seed, epoch) and of nothing else."""

    def __init__(self, length: int, *, seed: int) -> None:
        if length < 1:
            raise ValueError(f"a stream needs at least one sample, got {length}")
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._cached: tuple[int, Tensor] | None = None

    def advance(self, count: int) -> Iterator[Piece]:
        """The next `count` positions, one piece an epoch touched."""
        while count > 0:
            stop = min(self.position + count, self.length)
            piece = Piece(self.epoch, self.position, stop)
            count -= stop - self.position
            self.seek(*(self.epoch, stop) if stop < self.length else (self.epoch + 1, 0))
            yield piece

    def indices(self, piece: Piece) -> Tensor:
        """The data set's indices at these positions, int64."""
        if self._cached is None or self._cached[0] != piece.epoch:
            generator = epoch_generator(self.seed, piece.epoch, purpose=0)
            self._cached = piece.epoch, torch.randperm(self.length, generator=generator)
        return self._cached[1][piece.start : piece.stop]

    def seek(self, epoch: int, position: int) -> None:
        if epoch < 0 or not 0 <= position < self.length:
            raise ValueError(f"epoch {epoch}, position {position} lies outside a stream of {self.length} samples an epoch")
        self.epoch, self.position = epoch, position


def epoch_generator(seed: int, epoch: int, *, purpose: int) -> torch.Generator:
    """Random numbers that depend on these three values alone: they need no state, and two purposes never share them."""
    entropy = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy) >> 1)  # a torch seed has 63 bits
