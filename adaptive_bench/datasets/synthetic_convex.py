"""A convex problem: logistic regression on generated data, as in the prototype of DiveBatch's synthetic study."""

from typing import Any

import numpy as np

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.vectors import vector_classification
from adaptive_bench.validation import Count, NotNegative, Several, checked


@checked
def synthetic_convex(*, size: Several, dimension: Count, noise: NotNegative, test_size: Count, **settings: Any) -> Classification:
    """Logistic regression: x uniform on [-1, 1]^dimension, y = [sigmoid(<x, w> + noise * e) > 1/2], w and e standard normal.

    `size` samples for training and validation, `test_size` more for testing. The problem is the same for all seeds, like any data
    set; the seed splits and orders it. With `model=linear` the training loss is convex.
    """
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(dimension)
    inputs = rng.uniform(-1, 1, (size + test_size, dimension))
    labels = inputs @ weights + noise * rng.standard_normal(size + test_size) > 0  # sigmoid(t) > 1/2 where t > 0
    return vector_classification(inputs, labels, test_size=test_size, **settings)
