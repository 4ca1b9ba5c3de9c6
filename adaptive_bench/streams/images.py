"""A stream of images stored in one uint8 tensor; augmentation is vectorised over the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptive_bench.streams.base import Batch
from adaptive_bench.streams.order import Order, Piece, epoch_generator
from adaptive_bench.streams.permuted import PermutedStream
from adaptive_bench.validation import Whole, check_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Zero padding by `crop` pixels and a random crop back to size; a horizontal flip with probability one half."""

    crop: Whole = 0  # pixels
    flip: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


class ImageStream(PermutedStream):
    """Images (n, height, width, channels) uint8 and labels (n,), served as normalised floats (b, channels, height, width).

    Crop and flip depend only on (seed, epoch, sample): every scheduler sees the same pixels for a given seed, and the position
    in samples is the whole state. Batches are channels-last in memory, like the stored images.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(Order(len(images), seed=seed, device=images.device))
        self.images = images
        self.labels = labels
        self.normalise = Normalisation(images.shape[1:], mean=mean, std=std, device=images.device)
        self.augmentation = augmentation or Augmentation()
        self._cached: tuple[int, Tensor] | None = None

    def _load(self, piece: Piece) -> Batch:
        indices = self.order.indices(piece)
        images = self.images[indices]
        if self.augmentation.crop or self.augmentation.flip:
            images = augment(images, self._draws(piece.epoch)[indices], crop=self.augmentation.crop)
        return Batch(self.normalise(images), self.labels[indices])

    def plain(self, indices: Tensor) -> Batch:
        """These samples of the data set without augmentation; the position of the stream does not change."""
        on_device = indices.to(self.images.device)
        return Batch(self.normalise(self.images[on_device]), self.labels[on_device])

    def _draws(self, epoch: int) -> Tensor:
        """Row offset, column offset and flip of every sample in this epoch, (n, 3)."""
        if self._cached is None or self._cached[0] != epoch:
            generator = epoch_generator(self.order.seed, epoch, purpose=1)
            high = (2 * self.augmentation.crop + 1, 2 * self.augmentation.crop + 1, 1 + self.augmentation.flip)
            columns = [torch.randint(bound, (len(self.images),), generator=generator) for bound in high]
            self._cached = epoch, torch.stack(columns, dim=1).to(self.images.device)
        return self._cached[1]


class Normalisation:
    """(pixel / 255 - mean) / std per channel: uint8 (b, h, w, c) to float (b, c, h, w), channels-last in memory."""

    def __init__(self, shape: Sequence[int], *, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        height, width, channels = shape
        if len(mean) != channels or len(std) != channels:
            raise ValueError(f"mean={list(mean)} and std={list(std)}: one number for each of the {channels} channels is expected")
        if min(std) <= 0:
            raise ValueError(f"std={list(std)}: numbers above 0 are expected")
        # one long row for all pixels: broadcasting over a last axis of 3 channels is many times slower
        self.mean = (255 * torch.tensor(mean, device=device)).repeat(height * width)
        self.scale = (255 * torch.tensor(std, device=device)).reciprocal().repeat(height * width)

    def __call__(self, images: Tensor) -> Tensor:
        flat = images.reshape(len(images), -1).to(torch.float32)
        return flat.sub_(self.mean).mul_(self.scale).view(images.shape).permute(0, 3, 1, 2)


def augment(images: Tensor, draws: Tensor, *, crop: int) -> Tensor:
    """Crop and flip each image by its row of `draws` (row offset, column offset, flip). Shapes (b, h, w, c), (b, 3)."""
    count, height, width, channels = images.shape
    rows, columns, flips = draws.unbind(1)
    images = torch.where(flips.bool()[:, None, None, None], images.flip(2), images)
    padded = F.pad(images, (0, 0, crop, crop, crop, crop)).flatten(2)  # (b, h + 2 crop, (w + 2 crop) * c)
    windows = padded.unfold(1, height, 1).unfold(2, width * channels, channels)  # (b, 2 crop + 1, 2 crop + 1, h, w * c), a view
    return windows[torch.arange(count, device=images.device), rows, columns].view(count, height, width, channels)
