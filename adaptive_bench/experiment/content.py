"""A digest of what a data set reads, the same in whatever layout its files lie."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptive_bench.datasets.layouts import LAYOUTS, Layout, find


def content(dataset: Mapping[str, Any]) -> str:
    """The digest for the settings of a data set with a root; "" if no files are there, which the data set itself reports later.

    `download` fetches what is missing. A data set in none of our layouts, such as a user's own, is told by the files in
    <root>/<name>/. Raises ValueError if the download fails, and for files that cannot be read.
    """
    name, root = dataset["_target_"].rpartition(".")[2], Path(dataset["root"])
    try:
        found = find(name, root=root, download=name in LAYOUTS and dataset.get("download", False))
        if found is None:
            return _of_files(path for path in (root / name).glob("*") if path.suffix in (".npz", ".txt", ".tokens"))
        return _of_images(found) if found.read else _of_files(found.paths)
    except (ValueError, OSError) as error:
        raise ValueError(f"dataset: {error}") from error


def _of_files(paths: Iterable[Path]) -> str:
    return _digest({path.name: _fingerprint(path) for path in paths})


@cache
def _of_images(found: Layout) -> str:
    """The digest that the images would have in our files. They are read once, however many runs of them are planned."""
    train, test = (
        repr([("images.npy", *_npy(images)), ("labels.npy", *_npy(labels))]).encode() for images, labels in found.images()
    )
    return _digest({"train.npz": train, "test.npz": test})


def _npy(array: NDArray[Any]) -> tuple[int, int]:
    """Size and checksum of the array in numpy's file format."""
    file = _Checksum()
    np.save(file, array)
    return file.size, file.crc


class _Checksum:
    """A file that keeps nothing but its size and its CRC-32."""

    size = crc = 0

    def write(self, content: bytes) -> None:
        self.size += len(content)
        self.crc = zlib.crc32(content, self.crc)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, told in sorted(files.items()):
        digest.update(name.encode())
        digest.update(told)
    return digest.hexdigest()[:16] if files else ""


def _fingerprint(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # an archive holds checksums of its members, so nothing has to be read
        return repr([(member.filename, member.file_size, member.CRC) for member in archive.infolist()]).encode()
