"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes."""

from collections.abc import Sequence

import torch

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.images import image_classification, read_prepared
from adaptive_bench.datasets.split import Sizes
from adaptive_bench.streams.images import Augmentation


def cifar10(
    *,
    root: str,
    train_size: int | None,
    validation_size: int,
    test_size: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    crop: int,
    flip: bool,
    seed: int,
    device: torch.device,
) -> Classification:
    """CIFAR-10 from <root>/cifar10/{train,test}.npz, with pad-crop by `crop` pixels and horizontal flips."""
    train, test = read_prepared("cifar10", root=root, shape=(32, 32, 3), classes=10)
    return image_classification(
        train,
        test,
        classes=10,
        sizes=Sizes(train=train_size, validation=validation_size, test=test_size),
        mean=mean,
        std=std,
        augmentation=Augmentation(crop=crop, flip=flip),
        seed=seed,
        device=device,
    )
