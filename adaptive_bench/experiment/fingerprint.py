"""What stands in the files that settings name: a run is what is in them, wherever they lie."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptive_bench.schedulers.calibration import read_calibration
from adaptive_bench.schedulers.trajectory import read_trajectory

SLOTS = ("scheduler", "block_scheduler")


def by_content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a digest of the content for each path to a trace or a calibration, and one of the data set's files.

    Of a trace, its sizes and samples count, of a calibration what it says of the architecture: making either anew writes
    other seconds, and the runs that use it are the same runs. Raises ValueError for files that cannot be used.
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
    """A digest of the files that a data set is read from; "" where there are none, which the data set will say itself."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.glob("*") if path.suffix in (".npz", ".txt", ".tokens"))
    for path in files:
        digest.update(path.name.encode())
        digest.update(_fingerprint(path))
    return digest.hexdigest()[:16] if files else ""


def _fingerprint(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # an archive holds checksums of what is in it: nobody has to read a gigabyte
        return repr([(member.filename, member.file_size, member.CRC) for member in archive.infolist()]).encode()


def _told(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(scheduler)
    if "trace" in scheduler:
        results = told.pop("results")  # where a digest is looked up says nothing of what is found
        if scheduler["trace"] is not None:  # null: a schedule stands for it, or the scheduler will say what is missing
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
