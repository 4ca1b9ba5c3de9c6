from types import SimpleNamespace

import numpy as np
import pytest

from adaptive_bench.datasets.fetch import fetch
from adaptive_bench.datasets.images import read_prepared


def download(folder: str, train: bool) -> SimpleNamespace:
    """Torchvision's CIFAR-10 has these two attributes: an array and a list."""
    count = 30 if train else 20
    images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return SimpleNamespace(data=images, targets=[i % 10 for i in range(count)])


def test_what_is_fetched_can_be_read(tmp_path):
    written = fetch("cifar10", root=tmp_path, download=download)
    assert [path.name for path in written] == ["train.npz", "test.npz"]
    (images, labels), (_, test_labels) = read_prepared("cifar10", root=str(tmp_path), shape=(32, 32, 3), classes=10)
    assert np.array_equal(images.numpy(), download("", True).data)
    assert labels.tolist() == [i % 10 for i in range(30)]
    assert len(test_labels) == 20
    assert sorted(path.name for path in (tmp_path / "cifar10").iterdir()) == ["test.npz", "train.npz"]


def test_what_is_there_is_left_alone(tmp_path):
    fetch("cifar10", root=tmp_path, download=download)
    (tmp_path / "cifar10" / "test.npz").unlink()
    stamp = (tmp_path / "cifar10" / "train.npz").stat().st_mtime_ns
    assert fetch("cifar10", root=tmp_path, download=download) == [tmp_path / "cifar10" / "test.npz"]
    assert (tmp_path / "cifar10" / "train.npz").stat().st_mtime_ns == stamp
    assert fetch("cifar10", root=tmp_path, download=download) == []


def test_a_failed_download_leaves_nothing(tmp_path):
    def broken(folder, train):
        if not train:
            raise RuntimeError("File not found or corrupted.")
        return download(folder, train)

    with pytest.raises(ValueError, match="download of cifar10 failed: File not found or corrupted"):
        fetch("cifar10", root=tmp_path, download=broken)
    assert list(tmp_path.iterdir()) == []
