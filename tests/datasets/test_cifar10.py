"""The real CIFAR-10, where it lies prepared: ADAPTIVE_BENCH_DATA or ./data names the folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adaptive_bench.datasets.images import read_prepared

PACKED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    named = Path(os.environ.get("ADAPTIVE_BENCH_DATA", "data"))
    if (named / "cifar10" / "train.npz").exists():
        return named
    if not (PACKED / "unpack.py").exists():
        pytest.skip("CIFAR-10 is not here: python scripts/fetch_data.py cifar10, or ADAPTIVE_BENCH_DATA=DIR")
    unpacked = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, str(PACKED / "unpack.py"), "--to", str(unpacked), "cifar10"], check=True, capture_output=True)
    return unpacked


def test_cifar10_is_cifar10(root):
    (images, labels), (test_images, test_labels) = read_prepared("cifar10", root=str(root), shape=(32, 32, 3), classes=10)
    assert images.shape == (50_000, 32, 32, 3)
    assert test_images.shape == (10_000, 32, 32, 3)
    assert torch.bincount(labels).tolist() == [5000] * 10
    assert torch.bincount(test_labels).tolist() == [1000] * 10
    assert labels[:5].tolist() == [6, 9, 9, 4, 1]
    mean = images.float().mean((0, 1, 2)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4, rtol=0)
