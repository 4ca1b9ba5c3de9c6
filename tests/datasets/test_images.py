"""Prepared image files: what is wrong with one is said before anything starts."""

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from adaptive_bench.datasets.images import read_prepared, scaled_down
from adaptive_bench.sizes import BatchShape
from tests.conftest import composed


def write(root, *, images=None, labels=None, name="cifar10", parts=("train", "test")):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8) if images is None else images
    labels = np.arange(len(images)) % 10 if labels is None else labels
    for part in parts:
        np.savez(folder / f"{part}.npz", images=images, labels=labels)
    return folder


def read(root):
    return read_prepared("cifar10", root=str(root), shape=(32, 32, 3), classes=10)


def test_prepared_files_are_read(tmp_path):
    write(tmp_path)
    (images, labels), (test_images, _) = read(tmp_path)
    assert images.shape == (60, 32, 32, 3)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [i % 10 for i in range(60)]
    assert torch.equal(images, test_images)


GOOD = np.zeros((10, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (np.zeros((10, 28, 28, 3), np.uint8), None, r"shape \(10, 28, 28, 3\); expected uint8, n x 32 x 32 x 3"),
        (np.zeros((10, 3, 32, 32), np.uint8), None, r"shape \(10, 3, 32, 32\)"),
        (np.zeros((10, 32, 32, 3), np.float32), None, "images are float32"),
        (GOOD, np.arange(9), r"labels are int64 of shape \(9,\); expected one whole number for each of 10 images"),
        (GOOD, np.linspace(0, 1, 10), "labels are float64"),
        (GOOD, np.arange(10) + 1, "labels go from 1 to 10; cifar10 has the classes 0 to 9"),
        (GOOD, np.arange(10) - 1, "labels go from -1 to 8"),
        (GOOD[:0], np.arange(0), "for each of 0 images"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, images, labels, says):
    write(tmp_path, images=images, labels=labels)
    with pytest.raises(ValueError, match=says):
        read(tmp_path)


def test_a_missing_file_names_the_command(tmp_path):
    write(tmp_path, parts=("train",))
    with pytest.raises(ValueError, match=r"test\.npz is missing, .*; get it with: adaptive-bench fetch cifar10 --root"):
        read(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_truncated_file_is_refused(tmp_path, keep):
    file = write(tmp_path) / "train.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"train\.npz cannot be read .* delete it and run"):
        read(tmp_path)


def test_another_archive_is_refused(tmp_path):
    folder = write(tmp_path)
    np.savez(folder / "train.npz", pictures=GOOD)
    with pytest.raises(ValueError, match="images is not a file in the archive"):
        read(tmp_path)


SETS = {"cifar10": (32, 10), "cifar100": (32, 100), "tiny_imagenet": (64, 200)}


def drawn(side, count=60):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def task_of(name, root, *overrides):
    cfg = composed(f"dataset={name}", f"dataset.root={root}", "dataset.train_size=40", "dataset.validation_size=20", *overrides)
    return instantiate(cfg.dataset, seed=3, device=torch.device("cpu"))


@pytest.mark.parametrize(("name", "side", "classes"), [(name, *form) for name, form in SETS.items()])
def test_an_image_task_from_files(tmp_path, name, side, classes):
    write(tmp_path, name=name, images=drawn(side))
    task = task_of(name, tmp_path)
    assert (task.inputs, task.outputs, task.train.epoch_samples) == ((3, side, side), classes, 40)
    assert task.train.take(BatchShape(8)).inputs.shape == (8, 3, side, side)
    evaluation = task.evaluate(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side**2, classes)), "test")
    assert 0 <= evaluation.value <= 100


@pytest.mark.parametrize(("name", "side"), [(name, side) for name, (side, _) in SETS.items()])
def test_images_of_another_size_are_refused_by_every_set(tmp_path, name, side):
    write(tmp_path, name=name, images=drawn(96 - side))
    with pytest.raises(
        InstantiationException, match=rf"{name}/train\.npz: images are .*; expected uint8, n x {side} x {side} x 3"
    ):
        task_of(name, tmp_path)


def test_tiny_imagenet_may_have_the_first_of_its_classes_only(tmp_path):
    write(tmp_path, name="tiny_imagenet", images=drawn(64), labels=np.arange(60) % 20)
    assert task_of("tiny_imagenet", tmp_path, "dataset.classes=20").outputs == 20
    with pytest.raises(InstantiationException, match="labels go from 0 to 19; tiny_imagenet has the classes 0 to 18"):
        task_of("tiny_imagenet", tmp_path, "dataset.classes=19")


def test_images_are_scaled_down_to_the_means_of_squares(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    write(tmp_path, images=images)
    settings = ["dataset=cifar10", f"dataset.root={tmp_path}", "dataset.train_size=40", "dataset.validation_size=10"]
    task = instantiate(composed(*settings, "dataset.test_size=10", "dataset.side=8").dataset, seed=0, device=torch.device("cpu"))
    assert task.inputs == (3, 8, 8)
    means = images.reshape(60, 8, 4, 8, 4, 3).mean((2, 4)).round()
    parts = [task.train.images, task.held_out["validation"].inputs]
    seen = {tuple(image.flatten().tolist()) for part in parts for image in part}
    assert len(seen) == 50
    assert seen <= {tuple(image) for image in means.reshape(60, -1).astype(int).tolist()}
    assert task.train.take(BatchShape(4)).inputs.shape == (4, 3, 8, 8)


def test_a_side_that_divides_no_image_is_refused():
    with pytest.raises(ValueError, match="side=5: images of 32 x 32 pixels do not divide into it; choose a divisor of 32"):
        scaled_down(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), 5)
