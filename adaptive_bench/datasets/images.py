"""Image sets: prepared files on disk, and the task made from them."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adaptive_bench.datasets.classification import Classification, HeldOut
from adaptive_bench.datasets.layouts import Arrays, locate
from adaptive_bench.datasets.split import Sizes, split
from adaptive_bench.streams.images import Augmentation, ImageStream, Normalisation
from adaptive_bench.validation import Count, Positive, Whole, checked

Images = tuple[Tensor, Tensor]  # (n, h, w, c) uint8 and (n,) int64


def read_prepared(name: str, *, root: str, download: bool = False, shape: Sequence[int], classes: int) -> tuple[Images, Images]:
    """Training and test set from the first of its layouts below `root`: `images` uint8 (n, h, w, c), `labels` int64 (n,).

    Ours is <root>/<name>/{train,test}.npz. Raises ValueError if a file is missing, truncated or of another format.
    """
    found = locate(name, root=root, download=download)
    if found.read:
        parts = [(found.paths[0], arrays) for arrays in found.images()]
    else:
        parts = [(path, _load(path, name=name)) for path in found.paths]
    train, test = (_checked(arrays, path=path, name=name, shape=shape, classes=classes) for path, arrays in parts)
    return train, test


def _load(path: Path, *, name: str) -> Arrays:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return file["images"], file["labels"]
    except (zipfile.BadZipFile, zlib.error, ValueError, TypeError, EOFError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): truncated or of another format; delete it and run: "
            f"adaptive-bench fetch {name} --root {path.parent.parent}"
        ) from error


def _checked(arrays: Arrays, *, path: Path, name: str, shape: Sequence[int], classes: int) -> Images:
    images, labels = arrays
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != tuple(shape):
        expected = " x ".join(map(str, shape))
        raise ValueError(f"{path}: images are {images.dtype} of shape {images.shape}; expected uint8, n x {expected}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise ValueError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}; "
            f"expected one whole number for each of {len(images)} images"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{path}: labels go from {labels.min()} to {labels.max()}; {name} has the classes 0 to {classes - 1}")
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


@checked
def image_classification(
    train: Images,
    test: Images,
    *,
    classes: int,
    train_size: Count | None,
    validation_size: Count,
    test_size: Count | None,
    mean: Sequence[float],
    std: Sequence[Positive],
    side: Count | None = None,
    crop: Whole,
    flip: bool,
    seed: int,
    device: torch.device,
) -> Classification:
    """A classification task from images; the arguments after `classes` are the settings of the yaml, the seed and the device.

    The validation split is drawn from the training set by seed. Images are scaled down to `side` pixels, if one is given. Then
    training images are padded by `crop` pixels, cropped and flipped. All data moves to the device once.
    """
    images, labels = train
    sizes = Sizes(train=train_size, validation=validation_size, test=test_size)
    chosen, validation, tested = split(sizes, available=len(labels), available_test=len(test[1]), seed=seed)
    parts = [images[chosen], images[validation], test[0][tested]]
    if side is not None:
        parts = [scaled_down(part, side) for part in parts]
    height, width, channels = parts[0].shape[1:]
    normalise = Normalisation(parts[0].shape[1:], mean=mean, std=std, device=device)
    return Classification(
        train=ImageStream(
            parts[0].to(device),
            labels[chosen].to(device),
            seed=seed,
            mean=mean,
            std=std,
            augmentation=Augmentation(crop=crop, flip=flip),
        ),
        held_out={
            "validation": HeldOut(parts[1].to(device), labels[validation].to(device), normalise),
            "test": HeldOut(parts[2].to(device), test[1][tested].to(device), normalise),
        },
        inputs=(channels, height, width),
        outputs=classes,
    )


def scaled_down(images: Tensor, side: int) -> Tensor:
    """Images (n, h, h, c) as (n, side, side, c), each new pixel the rounded mean of a square of old ones.

    Source: the box filter of Downsampled ImageNet, Chrabaszcz, Loshchilov, Hutter 2017, arXiv 1707.08819.
    Raises ValueError unless the squares fit.
    """
    height, width = images.shape[1:3]
    if height != width or height % side:
        raise ValueError(f"side={side}: images of {height} x {width} pixels do not divide into it; choose a divisor of {height}")
    squares = images.view(len(images), side, height // side, side, width // side, images.shape[3])
    return squares.to(torch.float32).mean((2, 4)).round().to(torch.uint8)
