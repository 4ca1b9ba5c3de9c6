"""CIFAR-100: from torchvision's archive to our files, and the real set."""

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.datasets.fetch import SOURCES, fetch
from adaptive_bench.datasets.images import read_prepared
from tests.datasets.conftest import fails, left_in

CIFAR100 = torchvision.datasets.CIFAR100
COUNTS = {"train": 6, "test": 4}


def pixels(part: str) -> np.ndarray:
    """Channels first and flat, as the archive has them."""
    return np.random.default_rng(COUNTS[part]).integers(0, 256, (COUNTS[part], 3 * 32 * 32), dtype=np.uint8)


@pytest.fixture
def archive(site, monkeypatch):
    """A site with an archive in the form of the official one, small, which torchvision and SOURCES point to."""
    contents = {
        part: pickle.dumps({"data": pixels(part), "fine_labels": [99 - i for i in range(count)], "coarse_labels": [0] * count})
        for part, count in COUNTS.items()
    }
    contents["meta"] = pickle.dumps({"fine_label_names": [f"fine {i}" for i in range(100)]})
    sums = {part: hashlib.md5(content).hexdigest() for part, content in contents.items()}
    path = site.folder / CIFAR100.filename
    with tarfile.open(path, "w:gz") as tar:
        for part, content in contents.items():
            member = tarfile.TarInfo(f"{CIFAR100.base_folder}/{part}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    url = f"{site.url}/{path.name}"
    monkeypatch.setattr(CIFAR100, "url", url)
    monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": sums["meta"]})
    monkeypatch.setitem(SOURCES, "cifar100", replace(SOURCES["cifar100"], url=url))
    return path


def test_torchvisions_archive_becomes_files_with_the_fine_labels(archive, tmp_path):
    root = tmp_path / "data"
    fetch("cifar100", root=root)
    assert left_in(root) == ["test.npz", "train.npz"]
    read = read_prepared("cifar100", root=str(root), shape=(32, 32, 3), classes=100)
    for part, (images, labels) in zip(("train", "test"), read, strict=True):
        assert torch.equal(images.permute(0, 3, 1, 2).flatten(1), torch.from_numpy(pixels(part)))
        assert labels.tolist() == [99 - i for i in range(COUNTS[part])]


def test_a_truncated_archive_leaves_nothing(archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-20])
    fails("cifar100", tmp_path / "data", "File not found or corrupted")


@pytest.mark.slow
def test_cifar100_is_cifar100(real_data):
    (images, labels), (test_images, test_labels) = read_prepared(
        "cifar100", root=str(real_data("cifar100")), shape=(32, 32, 3), classes=100
    )
    assert len(images) >= 25_000
    assert test_images.shape == (10_000, 32, 32, 3)
    assert torch.bincount(labels).tolist() == [len(images) // 100] * 100
    assert torch.bincount(test_labels).tolist() == [100] * 100
    assert labels[:4].tolist() == [19, 29, 0, 11]  # cattle, dinosaur, apple, boy
    assert test_labels[:4].tolist() == [49, 33, 72, 51]
    yaml = OmegaConf.load(conf() / "dataset" / "cifar100.yaml")
    pixels = images[::2].flatten(0, 2).float() / 255
    torch.testing.assert_close(pixels.mean(0), torch.tensor(yaml.mean), atol=5e-3, rtol=0)
    torch.testing.assert_close(pixels.std(0), torch.tensor(yaml.std), atol=5e-3, rtol=0)
