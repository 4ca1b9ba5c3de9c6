"""A convex problem: logistic regression on generated data, as in the prototype of DiveBatch's synthetic study."""

import numpy as np
import torch

from adaptive_bench.datasets.classification import Classification, HeldOut
from adaptive_bench.datasets.split import Sizes, split
from adaptive_bench.streams.vectors import VectorStream


def synthetic_convex(
    *,
    size: int,
    dimension: int,
    noise: float,
    train_size: int | None,
    validation_size: int,
    test_size: int,
    seed: int,
    device: torch.device,
) -> Classification:
    """Logistic regression: x uniform on [-1, 1]^dimension, y = [sigmoid(<x, w> + noise * e) > 1/2], w and e standard normal.

    `size` samples to train and validate on and `test_size` more. One problem for all seeds: like any data set, it is
    drawn once; the seed splits and orders it. With `model=linear` the training loss is convex.
    """
    if size < 2 or dimension < 1 or test_size < 1 or not noise >= 0:
        raise ValueError(
            f"size={size}, dimension={dimension}, test_size={test_size}, noise={noise}: at least 2 samples, "
            "1 dimension, 1 test sample and noise from 0 up are expected"
        )
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(dimension)
    inputs = rng.uniform(-1, 1, (size + test_size, dimension))
    labels = inputs @ weights + noise * rng.standard_normal(size + test_size) > 0  # sigmoid(t) > 1/2 where t > 0
    x = torch.from_numpy(inputs.astype(np.float32)).to(device)
    y = torch.from_numpy(labels.astype(np.int64)).to(device)
    sizes = Sizes(train=train_size, validation=validation_size, test=test_size)
    train, validation, test = split(sizes, available=size, available_test=test_size, seed=seed)
    return Classification(
        train=VectorStream(x[train], y[train], seed=seed),
        held_out={
            "validation": HeldOut(x[validation], y[validation], torch.Tensor.contiguous),
            "test": HeldOut(x[size + test], y[size + test], torch.Tensor.contiguous),
        },
        inputs=(dimension,),
        outputs=1,
    )
