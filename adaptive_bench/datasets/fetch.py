"""From torchvision's downloads to the prepared files that images.py reads."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torchvision

from adaptive_bench.files import replacing

Download = Callable[[str, bool], Any]  # (folder, train) -> a torchvision set with `data` (n, h, w, c) uint8 and `targets`

SOURCES: dict[str, Download] = {
    "cifar10": lambda folder, train: torchvision.datasets.CIFAR10(folder, train=train, download=True),
}


def fetch(name: str, *, root: Path, download: Download | None = None) -> list[Path]:
    """Write <root>/<name>/{train,test}.npz; files that are there already are left alone. Returns what was written.

    The download is checked by torchvision (MD5) and lies in a temporary folder until both parts are converted.
    Raises ValueError if it does not come through.
    """
    get = download or SOURCES[name]
    targets = {part: root / name / f"{part}.npz" for part in ("train", "test")}
    missing = {part: path for part, path in targets.items() if not path.exists()}
    if not missing:
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            sets = {part: get(folder, part == "train") for part in missing}
        except (OSError, RuntimeError) as error:  # no network; a checksum that does not fit
            raise ValueError(f"the download of {name} failed: {error}") from error
    for part, path in missing.items():
        _write(path, images=np.asarray(sets[part].data), labels=np.asarray(sets[part].targets, dtype=np.int64))
    return list(missing.values())


def _write(path: Path, **arrays: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
