"""Digests of the files that settings name: a run is identified by their content, not by their place."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        name = settings["dataset"]["_target_"].rpartition(".")[2]
        told["dataset"] = settings["dataset"] | {"content": _files(Path(settings["dataset"]["root"]) / name)}
    for slot in SLOTS:
        try:
            told[slot] = _told(settings[slot])
        except ValueError as error:
            raise ValueError(f"{slot}.{error}") from error
    return told


def _files(folder: Path) -> str:
    """A digest of the files that a data set is read from; "" if there are none, which the data set itself reports later."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.glob("*") if path.suffix in (".npz", ".txt", ".tokens"))
    for path in files:
        digest.update(path.name.encode())
        digest.update(_fingerprint(path))
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
