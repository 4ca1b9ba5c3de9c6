"""Generated vectors, and the task made from them."""

import numpy as np
import torch
from numpy.typing import NDArray

from adaptive_bench.datasets.classification import Classification, HeldOut
from adaptive_bench.datasets.split import Sizes, split
from adaptive_bench.streams.vectors import VectorStream
from adaptive_bench.validation import Count, checked


@checked
def vector_classification(
    inputs: NDArray[np.float64],
    labels: NDArray[np.bool_] | NDArray[np.int64],
    *,
    classes: int = 2,
    train_size: Count | None,
    validation_size: Count,
    test_size: Count,
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
        outputs=1 if classes == 2 else classes,
    )
