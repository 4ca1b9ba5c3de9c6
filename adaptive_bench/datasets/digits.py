"""Handwritten digits out of scikit-learn: 1,797 grey images of 8 x 8 pixels. Embedded, so nothing is downloaded."""

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.images import image_classification

TEST_SIZE = 360  # scikit-learn ships one set; which samples are for testing is fixed here once, for every seed


def digits(**settings: Any) -> Classification:
    """Handwritten digits: the test set of the UCI optical digits (Alpaydin and Kaynak 1998), of which 360 are held out."""
    stored = load_digits()
    # pixels count 0 to 16: times 15 they fill a byte
    images = torch.from_numpy((15 * stored.images).astype(np.uint8)).unsqueeze(-1)
    labels = torch.from_numpy(stored.target.astype(np.int64))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    tested, rest = order[:TEST_SIZE], order[TEST_SIZE:]
    train, test = (images[rest], labels[rest]), (images[tested], labels[tested])
    return image_classification(train, test, classes=10, **settings)
