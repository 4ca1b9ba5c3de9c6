"""Where batches come from. A stream is asked for a size at every step, so the size may change at any step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from adaptive_bench.sizes import BatchShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a batch in a text. It decides which hidden state the model continues from."""

    epoch: int
    position: int  # samples of this epoch before the batch
    samples: int  # in the whole batch, like `rows`
    rows: int
    resets_state: bool  # the rows do not continue the previous batch, so the model starts from a zero state
    first: int = 0  # index of the first row, when this is a part of a larger batch


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `targets`, one row per sample. For text both are token ids of shape (rows, block).

    Rows of different lengths are padded: their targets are IGNORED there, and samples are the other positions.
    """

    inputs: Tensor
    targets: Tensor
    place: Place | None = None  # only for text
    tokens_per_row: float | None = None  # of the whole batch, where rows are padded
    segments: Tensor | None = None  # of packed rows: which sentence a position belongs to, -1 on padding
    real: int | None = None  # positions that are not padding, where rows are padded; None: they are counted when asked for
    cut: bool = False  # less than was asked for: at the end of the budget, or of an epoch of text

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> BatchShape:
        """The actual shape, which may be smaller than the requested one. Only token ids have a block above 1."""
        counted = self.real is None and self.tokens_per_row is not None
        return BatchShape(len(self.targets), self.width, int((self.targets != IGNORED).sum()) if counted else self.real)

    @property
    def width(self) -> int:
        """Positions of a row, padding included."""
        return self.targets.shape[1] if self.targets.dim() == 2 and not self.targets.is_floating_point() else 1

    def rows(self, start: int, stop: int) -> "Batch":
        place = self.place and replace(self.place, first=self.place.first + start)
        segments = None if self.segments is None else self.segments[start:stop]
        return replace(
            self, inputs=self.inputs[start:stop], targets=self.targets[start:stop], place=place, segments=segments, real=None
        )


IGNORED = -1  # the target of a position that is padding
LossFunction = Callable[[nn.Module, Batch], Tensor]  # mean loss over the batch's samples, a scalar


class Stream(ABC):
    """An endless, reproducible sequence of samples, epoch after epoch.

    Every epoch contains every sample exactly once, for any sequence of requested sizes.
    """

    @property
    @abstractmethod
    def epoch_samples(self) -> int:
        """Samples per epoch."""

    @property
    def most_rows(self) -> int:
        """The largest batch that makes sense."""
        return self.epoch_samples

    @abstractmethod
    def take(self, shape: BatchShape, *, left: int | None = None) -> Batch:
        """The next batch of this shape, of at most `left` samples; `Batch.shape` gives the actual one. Any size at any step."""

    @abstractmethod
    def restart_epoch(self) -> None:
        """Return to the start of the current epoch."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Plain numbers {"epoch", "position", ...}; the position counts samples within the epoch."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for a position outside the epoch, as in a checkpoint of other data."""
