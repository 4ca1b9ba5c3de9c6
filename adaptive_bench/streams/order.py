"""The order of the samples: one permutation per epoch, and the position in it."""

import math
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


@dataclass(frozen=True, slots=True)
class Ranking:
    """`ranks` (n,) float64: each sample's rank, 0 (easy) to n - 1 (hard). `span`: epochs until ranks have no effect."""

    ranks: Tensor
    span: float

    def sort(self, shuffled: Tensor, *, epoch: int) -> Tensor:
        """The samples of `shuffled` by (1 - m) r + m s: rank r, place in the shuffle s, m = min(1, epoch / span)."""
        mixed = min(1.0, epoch / self.span)
        places = torch.arange(len(shuffled), dtype=torch.float64)
        keys = (1 - mixed) * self.ranks[shuffled] + mixed * places
        return shuffled[keys.argsort(stable=True)]  # equal keys stay in the order of the shuffle


class Order:
    """The order of samples: a permutation per epoch, a function of (seed, epoch) and of a curriculum's scores."""

    def __init__(self, length: int, *, seed: int, device: torch.device | None = None) -> None:
        """`device`: where the indices are wanted; the CPU if it is None."""
        if length < 1:
            raise ValueError(f"a stream needs at least one sample, got {length}")
        self.length = length
        self.seed = seed
        self.device = device or torch.device("cpu")
        self.epoch = 0
        self.position = 0
        self._ranking: Ranking | None = None
        self._cached: tuple[int, Tensor] | None = None

    def rank(self, scores: Tensor, *, span: float) -> None:
        """From easy (a low score) to hard: a curriculum (Bengio et al. 2009, ICML). Every epoch contains every sample.

        Epoch e is sorted by (1 - m) r_i / n + m u_i with m = min(1, e / span), where r_i is the rank of sample i's score and
        u_i = s_i / n its place in the ordinary shuffle of that epoch: epoch 0 is sorted from easy to hard, and from epoch `span`
        on the order is the ordinary shuffle. The mixture is ours. Equal scores rank by index. Scores are settings, not state:
        the state is still epoch and position. Raises ValueError for scores that do not fit.
        """
        if not (span > 0 and math.isfinite(span)):
            raise ValueError(f"span={span!r}: a number of epochs above 0 is expected")
        if scores.shape != (self.length,) or not scores.isfinite().all():
            raise ValueError(
                f"scores of shape {tuple(scores.shape)}, {int(scores.isfinite().sum())} of them finite: "
                f"one finite number for each of {self.length} samples is expected"
            )
        by_score = scores.detach().cpu().argsort(stable=True)
        ranks = torch.empty(self.length, dtype=torch.float64)
        ranks[by_score] = torch.arange(self.length, dtype=torch.float64)
        self._ranking, self._cached = Ranking(ranks, span), None

    def advance(self, count: int) -> Iterator[Piece]:
        """The next `count` positions, as one piece per epoch."""
        while count > 0:
            stop = min(self.position + count, self.length)
            piece = Piece(self.epoch, self.position, stop)
            count -= stop - self.position
            self.seek(*(self.epoch, stop) if stop < self.length else (self.epoch + 1, 0))
            yield piece

    def indices(self, piece: Piece) -> Tensor:
        """The data set's indices at these positions, int64."""
        if self._cached is None or self._cached[0] != piece.epoch:
            shuffled = torch.randperm(self.length, generator=epoch_generator(self.seed, piece.epoch, purpose=0))
            sorted_ = self._ranking.sort(shuffled, epoch=piece.epoch) if self._ranking else shuffled
            self._cached = piece.epoch, sorted_.to(self.device)  # once an epoch: a device is not waited for at every step
        return self._cached[1][piece.start : piece.stop]

    def seek(self, epoch: int, position: int) -> None:
        if epoch < 0 or not 0 <= position < self.length:
            raise ValueError(f"epoch {epoch}, position {position} lies outside a stream of {self.length} samples an epoch")
        self.epoch, self.position = epoch, position


def epoch_generator(seed: int, epoch: int, *, purpose: int, place: int | None = None) -> torch.Generator:
    """A generator that depends only on these values. It needs no saved state, and two purposes never share numbers."""
    entropy = np.random.SeedSequence([seed, epoch, purpose, *([] if place is None else [place])]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy) >> 1)  # a torch seed has 63 bits
