"""The real CIFAR-10."""

import pytest
import torch

from adaptive_bench.datasets.images import read_prepared


@pytest.mark.slow
def test_cifar10_is_cifar10(real_data):
    root = real_data("cifar10")
    (images, labels), (test_images, test_labels) = read_prepared("cifar10", root=str(root), shape=(32, 32, 3), classes=10)
    assert images.shape == (50_000, 32, 32, 3)
    assert test_images.shape == (10_000, 32, 32, 3)
    assert torch.bincount(labels).tolist() == [5000] * 10
    assert torch.bincount(test_labels).tolist() == [1000] * 10
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]
    mean = images.float().mean((0, 1, 2)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4, rtol=0)
