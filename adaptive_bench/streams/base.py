"""Where batches come from: a stream is asked for a size at each step, not told one at birth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from adaptive_bench.sizes import BatchShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a text a batch stands: what a model's state is carried by."""

    epoch: int
    position: int  # samples of the epoch that came before the batch
    samples: int  # of the whole batch, as are the rows
    rows: int
    resets_state: bool  # whether the rows begin anywhere anew, so that no state may be carried into them
    first: int = 0  # which of the whole batch's rows is the first one here


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs` and `targets`, both with one row a sample; of a text, token ids (rows, block), with one row a column."""

    inputs: Tensor
    targets: Tensor
    place: Place | None = None  # of a text's batches only

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> BatchShape:
        """What the batch holds, which may be less than what was asked for. Only token ids have a block."""
        is_text = self.targets.dim() == 2 and not self.targets.is_floating_point()
        return BatchShape(len(self.targets), self.targets.shape[1] if is_text else 1)

    def rows(self, start: int, stop: int) -> "Batch":
        place = self.place and replace(self.place, first=self.place.first + start)
        return Batch(self.inputs[start:stop], self.targets[start:stop], place)


class Stream(ABC):
    """An endless, reproducible sequence of samples, epoch after epoch.

    Every epoch holds every sample exactly once, whatever the sizes asked for.
    """

    @property
    @abstractmethod
    def epoch_samples(self) -> int:
        """Samples an epoch."""

    @abstractmethod
    def take(self, shape: BatchShape) -> Batch:
        """The next samples, never more than `shape.samples`; `Batch.shape` says how many. Any size at any step."""

    @abstractmethod
    def restart_epoch(self) -> None:
        """Go back to the beginning of the epoch."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, {"epoch", "position", ...}: the position is counted in samples inside the epoch."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for a position outside the epoch: a checkpoint of other data."""
