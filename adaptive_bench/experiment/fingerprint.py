"""Digests of the files that settings name: a run is identified by their content, not by their place."""

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
from adaptive_bench.schedulers.calibration import read_calibration
from adaptive_bench.schedulers.trajectory import read_trajectory

SLOTS = ("scheduler", "block_scheduler")


def by_content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with digests of content: for each path to a trace or a calibration, and for the files of the data set.

    Only the sizes and samples of a trace count, and only what a calibration says of the architecture: a repeated run takes other
    seconds and is still the same run. Raises ValueError for files that cannot be used.
    """
    told = dict(settings)
    if "root" in settings["dataset"]:
        dataset = settings["dataset"]
        name = dataset["_target_"].rpartition(".")[2]
        try:
            read = content(name, root=Path(dataset["root"]), download=dataset.get("download", False))
            told["dataset"] = dataset | {"content": read}
        except (ValueError, OSError) as error:
            raise ValueError(f"dataset: {error}") from error
    for slot in SLOTS:
        try:
            told[slot] = _told(settings[slot])
        except ValueError as error:
            raise ValueError(f"{slot}.{error}") from error
    return told


def content(name: str, *, root: Path, download: bool = False) -> str:
    """A digest of what a data set reads, the same for every layout; "" if there is none, which the data set itself reports later.

    A data set without layouts, which is not ours, is told by the files in <root>/<name>/. `download` fetches what is missing.
    Raises ValueError if that fails, and for images that cannot be read.
    """
    if name not in LAYOUTS:
        return _of_files(path for path in (root / name).glob("*") if path.suffix in (".npz", ".txt", ".tokens"))
    found = find(name, root=root, download=download)
    if found is None:
        return ""
    return _of_images(found) if found.read else _of_files(found.paths)


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


def _told(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(scheduler)
    if "trace" in scheduler:
        results = told.pop("results")  # the folder in which a digest is looked up is no part of the identity
        if scheduler["trace"] is not None:  # null: there is a schedule instead, or the scheduler reports what is missing
            told["trace"] = read_trajectory(scheduler["trace"], results=results, column=scheduler["column"]).digest()
    if isinstance(followed := scheduler.get("schedule"), Mapping):
        if followed.get("trace") is not None:
            raise ValueError(
                f"schedule.trace={followed['trace']}: a schedule sees nothing but the clock; give the trace to the control itself"
            )
        told["schedule"] = _told(followed)
    if scheduler.get("calibration") is not None:
        told["calibration"] = read_calibration(scheduler["calibration"]).digest()
    return told
