"""A problem that no linear model can solve: the labels of a random two-layer network, on synthetic_convex's kind of features."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.vectors import vector_classification
from adaptive_bench.validation import Count, Several, checked


@checked
def synthetic_nonconvex(
    *,
    size: Several,  # one for training, one for validation
    dimension: Count,
    hidden: Several,
    flipped: Annotated[float, Ge(0), Lt(0.5)],  # a probability
    test_size: Count,
    **settings: Any,
) -> Classification:
    """Labels of a random two-layer network: x uniform on [-1, 1]^dimension, y = [f(x) > median of f], `flipped` of them flipped.

    f(x) = sum_k v_k (tanh(z_k + b_k) - tanh(z_k - b_k)), z_k = sqrt(3 / dimension) <x, w_k>, k = 1 .. hidden / 2; w, b and v are
    standard normal, so each z_k has a variance of about 1. This is a network of `hidden` tanh units. As f(-x) = f(x), labels
    correlate with no feature, and the best linear model is a constant: accuracy 50 %. The network itself reaches
    100 (1 - flipped) %: a label is flipped with that probability. Meant for `model=mlp`, which
    has to see many samples a feature: 9,000 are enough at dimension 400, and with 2,000 it stays at 50 %.

    Our own problem: the non-convex model of DiveBatch's synthetic study is not published. As with synthetic_convex,
    `size` samples are for training and validation, `test_size` more for testing, and the problem is the same for all seeds.
    """
    if hidden % 2:
        raise ValueError(f"hidden={hidden}: an even number is expected, as the units come in pairs")
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((dimension, hidden // 2))
    biases, outputs = rng.standard_normal((2, hidden // 2))
    inputs = rng.uniform(-1, 1, (size + test_size, dimension))
    z = np.sqrt(3 / dimension) * inputs @ weights
    f = (np.tanh(z + biases) - np.tanh(z - biases)) @ outputs
    labels = (f > np.median(f)) ^ (rng.random(size + test_size) < flipped)
    return vector_classification(inputs, labels, test_size=test_size, **settings)
