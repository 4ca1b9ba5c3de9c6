"""The split into training, validation and test samples: a function of the seed, the same for every scheduler."""

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptive_bench.streams.order import epoch_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Samples per split. None takes all (for training: all that validation leaves)."""

    train: int | None
    validation: int
    test: int | None


def split(sizes: Sizes, *, available: int, available_test: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the training and validation samples, both out of the training set, and of the test samples.

    A smaller training set of the same seed is a part of the larger one. Raises ValueError for sizes that do not fit.
    """
    train = available - sizes.validation if sizes.train is None else sizes.train
    if train < 1 or train + sizes.validation > available:
        raise ValueError(
            f"train_size={sizes.train} and validation_size={sizes.validation} together exceed the {available} training samples "
            "there are"
        )
    test = available_test if sizes.test is None else sizes.test
    if test > available_test:
        raise ValueError(f"test_size={test} exceeds the {available_test} test samples there are")
    order = torch.randperm(available, generator=epoch_generator(seed, 0, purpose=2))
    test_order = torch.randperm(available_test, generator=epoch_generator(seed, 0, purpose=3))
    return order[sizes.validation : sizes.validation + train], order[: sizes.validation], test_order[:test]
