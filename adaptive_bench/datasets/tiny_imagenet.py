"""Tiny ImageNet (Stanford's course CS231n): 100,000 + 10,000 colour images of 64 x 64 pixels in 200 of ImageNet's classes."""

import io
import re
import zlib
from contextlib import nullcontext
from pathlib import Path, PureWindowsPath
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.images import image_classification, read_prepared
from adaptive_bench.datasets.layouts import LAYOUTS, Arrays, image_layouts
from adaptive_bench.validation import Several, checked

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"  # of the archive
SIDE = 64  # pixels
TOP = "tiny-imagenet-200"  # the archive's one folder
TRAINING = re.compile(rf"{TOP}/train/([^/]+)/images/[^/]+\.JPEG")  # the class, as wnids.txt names it


@checked
def tiny_imagenet(*, root: str, download: bool = False, classes: Several, **settings: Any) -> Classification:
    """Tiny ImageNet from <root>/tiny_imagenet/{train,test}.npz, with pad-crop by `crop` pixels and horizontal flips.

    The test set is the official validation split: the labels of the official test set were never published. `classes` is 200, or
    fewer if the files hold only the first `classes` classes; larger labels raise ValueError.
    """
    train, test = read_prepared("tiny_imagenet", root=root, download=download, shape=(SIDE, SIDE, 3), classes=classes)
    return image_classification(train, test, classes=classes, **settings)


class Unpacked:
    """The archive after it was unpacked, read as `zipfile` reads it while it is packed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def namelist(self) -> list[str]:
        """Only the training images, by which nothing else is looked up."""
        return [path.relative_to(self._folder.parent).as_posix() for path in self._folder.glob("train/*/images/*")]

    def read(self, name: str) -> bytes:
        return (self._folder.parent / name).read_bytes()


def read_layout(path: Path) -> tuple[Arrays, Arrays]:
    """Training and test images of the archive at `path`, or of the folder that it was unpacked into."""
    try:
        with nullcontext(Unpacked(path)) if path.is_dir() else ZipFile(path) as archive:
            return read_archive(archive, "train"), read_archive(archive, "test")
    except (BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is not Tiny ImageNet as it is distributed ({error}); unpack the archive from {URL} again"
        ) from error


LAYOUTS["tiny_imagenet"] = image_layouts("tiny_imagenet", TOP, f"{TOP}.zip", read=read_layout)


def read_archive(archive: ZipFile | Unpacked, part: str) -> Arrays:
    """Images (n, 64, 64, 3) and labels (n,) of `part`, which is train or test, from the archive at URL.

    A class is numbered by its line in wnids.txt, from 0. Training images come class by class, by name within a class; the test
    set is the official validation split in the order of val_annotations.txt. Grey images become RGB. Members are read by
    their expected names, and nothing is extracted. Raises KeyError for a missing member, ValueError for a malformed one, and for
    any member whose path leads out of the archive's folder.
    """
    for name in archive.namelist():
        path = PureWindowsPath(name)  # knows both slashes, and drives
        if path.anchor or ".." in path.parts:
            raise ValueError(f"its member {name!r} leads out of the folder that it belongs to, so none is read")
    wnids = archive.read(f"{TOP}/wnids.txt").decode().split()
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    members = _training(archive, numbers) if part == "train" else _validation(archive, numbers)
    images = np.empty((len(members), SIDE, SIDE, 3), np.uint8)  # 1.2 GB for the training set, so it is filled and never copied
    for image, (name, _) in zip(images, members, strict=True):
        image[:] = _pixels(archive.read(name), name=name)
    return images, np.array([number for _, number in members], np.int64)


def _training(archive: ZipFile | Unpacked, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """The members that hold training images, each with its class."""
    found: dict[str, list[str]] = {wnid: [] for wnid in numbers}
    for name in sorted(archive.namelist()):
        if (match := TRAINING.fullmatch(name)) and match[1] in found:
            found[match[1]].append(name)
    counts = sorted({len(names) for names in found.values()}) or [0]
    if counts[0] != counts[-1] or not counts[0]:
        raise ValueError(
            f"its training set has {counts[0]} to {counts[-1]} images in each of the {len(found)} classes that wnids.txt names; "
            "the same number in all of them is expected"
        )
    return [(name, numbers[wnid]) for wnid, names in found.items() for name in names]


def _validation(archive: ZipFile | Unpacked, numbers: dict[str, int]) -> list[tuple[str, int]]:
    """The members that hold images of the official validation split, each with its class."""
    annotations = archive.read(f"{TOP}/val/val_annotations.txt").decode().splitlines()
    members = []
    for line in annotations:
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]  # what follows is a bounding box
        if wnid not in numbers:
            raise ValueError(f"val_annotations.txt has the line {line!r}; an image and one of wnids.txt's classes are expected")
        members.append((f"{TOP}/val/images/{name}", numbers[wnid]))
    if not members:
        raise ValueError("val_annotations.txt is empty")
    return members


def _pixels(content: bytes, *, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):  # asked before anything is decoded
                raise ValueError(f"{name} is an image of {image.width} x {image.height} pixels; expected are {SIDE} x {SIDE}")
            return np.asarray(image.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no JPEG image, or a broken one") from error
