"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32 x 32 pixels in 10 classes."""

from typing import Any

from torchvision.datasets import CIFAR10

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.images import image_classification, read_prepared
from adaptive_bench.datasets.layouts import LAYOUTS, cifar_layouts

LAYOUTS["cifar10"] = cifar_layouts("cifar10", CIFAR10)


def cifar10(*, root: str, download: bool = False, **settings: Any) -> Classification:
    """CIFAR-10 from <root>/cifar10/{train,test}.npz, with pad-crop by `crop` pixels and horizontal flips."""
    train, test = read_prepared("cifar10", root=root, download=download, shape=(32, 32, 3), classes=10)
    return image_classification(train, test, classes=10, **settings)
