"""Where a data set may lie below its root: in our own files, or as an archive, torchvision or its authors have it."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import check_integrity, extract_archive

from adaptive_bench.validation import check

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (n, h, w, c) and labels (n,)
Reader = Callable[[Path], tuple[Arrays, Arrays]]  # training and test images


@dataclass(frozen=True, slots=True)
class Layout:
    """A form in which a data set may lie. It is there if all of its paths are.

    `read` makes images of the only path; None for files that the data set reads itself.
    """

    paths: tuple[Path, ...]  # below the root, or whole in a layout that was found
    read: Reader | None = None
    changed: int = 0  # when the first path was, in a layout that was found

    def images(self) -> tuple[Arrays, Arrays]:
        """Training and test images of a layout that was found and has a reader. Raises ValueError if they cannot be read."""
        return _images(self)


LAYOUTS: dict[str, tuple[Layout, ...]] = {}  # of each data set, our own form first; the data set's module enters its own


def find(name: str, *, root: str | Path, download: bool = False) -> Layout | None:
    """The first layout of a data set that is there, with its whole paths.

    `root` is the folder that holds the layout or, for a layout that is a folder, that folder itself. `download` fetches what is
    missing; where several processes ask for it, one fetches and the others wait. Raises ValueError if the download fails.
    """
    check("download", download, bool)
    root = Path(root)
    if (found := _look(name, root)) or not download:
        return found
    from adaptive_bench.datasets.fetch import fetch  # it imports the data sets, and they import this file

    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            fetch(name.removesuffix("_lines"), root=root)  # the same files
    except OSError as error:
        raise ValueError(f"{root} cannot be written ({error}); name another folder with dataset.root=DIR") from error
    return _look(name, root)


def _look(name: str, root: Path) -> Layout | None:
    itself = root.resolve()
    for layout in LAYOUTS.get(name, ()):
        for base in (root, itself.parent) if layout.paths[0].parts[0] == itself.name else (root,):
            paths = tuple(base / path for path in layout.paths)
            if all(path.exists() for path in paths):
                return replace(layout, paths=paths, changed=paths[0].stat().st_mtime_ns)
    return None


def locate(name: str, *, root: str | Path, download: bool) -> Layout:
    """The same as `find`. Raises ValueError if no layout is there, and names every one that was looked for."""
    if found := find(name, root=root, download=download):
        return found
    own, *others = (layout.paths for layout in LAYOUTS[name])
    lacks = next((path for path in own if not Path(root, path).exists()), own[0])
    raise ValueError(
        f"{Path(root, lacks)} is missing, and {root} has neither {' nor '.join(str(paths[0]) for paths in others)}; get it with: "
        f"adaptive-bench fetch {name} --root {root}, or with dataset.download=true, or name another folder with dataset.root=DIR"
    )


def text_layouts(files: Iterable[str], *folders: str) -> tuple[Layout, ...]:
    """All of `files`, which are those of training, validation and test, in one of the folders."""
    return tuple(Layout(tuple(Path(folder, file) for file in files)) for folder in folders)


def image_layouts(name: str, *others: str, read: Reader) -> tuple[Layout, ...]:
    """Our two files, or what `read` knows: a folder or its archive."""
    own = Layout((Path(name, "train.npz"), Path(name, "test.npz")))
    return own, *(Layout((Path(other),), read) for other in others)


def cifar_layouts(name: str, source: type[CIFAR10]) -> tuple[Layout, ...]:
    """Our two files, the folder that torchvision's class makes, or the archive that it downloads."""
    return image_layouts(name, source.base_folder, source.filename, read=partial(_read_cifar, source))


def _read_cifar(source: type[CIFAR10], path: Path) -> tuple[Arrays, Arrays]:
    """By torchvision, which checks the MD5 of every file before it unpickles one. An archive is unpacked for this moment only."""
    with tempfile.TemporaryDirectory() as unpacked:
        folder = path.parent
        try:
            if path.is_file():
                if not check_integrity(path, source.tgz_md5):
                    raise RuntimeError("the archive is corrupted")
                extract_archive(path, unpacked)
                folder = Path(unpacked)
            train, test = (source(folder, train=part) for part in (True, False))
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{path} is not torchvision's {source.__name__} ({str(error).partition('. ')[0]}): a file is missing, or its MD5 "
                f"is another; delete it and run: adaptive-bench fetch {source.__name__.lower()} --root {path.parent}"
            ) from error
    return _arrays(train), _arrays(test)


def _arrays(part: CIFAR10) -> Arrays:
    return np.ascontiguousarray(part.data), np.array(part.targets, np.int64)


@lru_cache(maxsize=1)  # a run needs the images for its digest, and again for its task
def _images(found: Layout) -> tuple[Arrays, Arrays]:
    assert found.read is not None, "a layout of images that are not ours"
    return found.read(found.paths[0])
