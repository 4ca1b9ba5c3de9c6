"""CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32 pixels in 100 classes."""

from typing import Any

from torchvision.datasets import CIFAR100

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.images import image_classification, read_prepared
from adaptive_bench.datasets.layouts import LAYOUTS, cifar_layouts

LAYOUTS["cifar100"] = cifar_layouts("cifar100", CIFAR100)


def cifar100(*, root: str, download: bool = False, **settings: Any) -> Classification:
    """CIFAR-100 with its 100 fine labels from <root>/cifar100/{train,test}.npz, with pad-crop by `crop` pixels and flips."""
    train, test = read_prepared("cifar100", root=root, download=download, shape=(32, 32, 3), classes=100)
    return image_classification(train, test, classes=100, **settings)
