"""Generated vectors in two classes, and the task made from them."""

import numpy as np
import torch
from numpy.typing import NDArray

from adaptive_bench.datasets.classification import Classification, HeldOut
from adaptive_bench.datasets.split import Sizes, split
from adaptive_bench.streams.vectors import VectorStream
from adaptive_bench.validation import whole_number


def check_sizes(*, size: int, test_size: int, dimension: int) -> None:
    """Raises ValueError unless the numbers of samples, test samples and features are whole numbers above 0."""
    whole_number("size", size, least=2)  # one for training, one for validation
    whole_number("test_size", test_size)
    whole_number("dimension", dimension)


def vector_classification(
    inputs: NDArray[np.float64],
    labels: NDArray[np.bool_],
    *,
    train_size: int | None,
    validation_size: int,
    test_size: int,
    seed: int,
    device: torch.device,
) -> Classification:
    """A task from inputs (n, d) and labels (n,): the last `test_size` are the test set, the seed splits the rest."""
    size, dimension = len(labels) - test_size, inputs.shape[1]
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
