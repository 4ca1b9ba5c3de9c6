"""Digests of the files that settings name: a run is identified by their content, not by their place."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptive_bench.experiment.recorded import Recorded


def by_content(settings: Mapping[str, Any], recorded: Recorded | None = None) -> dict[str, Any]:
    """The settings with digests of content: of what was `recorded` for each scheduler, and of the files of the data set.

    Only the sizes and samples of a trace count, and only what a calibration says of the architecture: a repeated run takes other
    seconds and is still the same run.
    """
    told = dict(settings)
    if "root" in settings["dataset"]:
        name = settings["dataset"]["_target_"].rpartition(".")[2]
        told["dataset"] = settings["dataset"] | {"content": _files(Path(settings["dataset"]["root"]) / name)}
    for slot in ("scheduler", "block_scheduler"):
        values = (recorded or {}).get(slot, {})
        told[slot] = _told(settings[slot]) | {name: value.digest() for name, value in values.items()}
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
    """Without the folder in which a digest is looked up."""
    told = dict(scheduler)
    if "trace" in told:
        del told["results"]
    if isinstance(told.get("schedule"), Mapping):
        told["schedule"] = _told(told["schedule"])
    return told
