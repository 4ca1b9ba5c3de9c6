"""Where the real data is, for the tests that need it; a web site to fetch from, and what a fetch that fails has to leave."""

import http.server
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from adaptive_bench.datasets.fetch import SOURCES, fetch

PACKED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a data set, what dataset.root should name: ADAPTIVE_BENCH_DATA or ./data, else where packed data unfolds; or a skip."""
    named = Path(os.environ.get("ADAPTIVE_BENCH_DATA", "data")).absolute()
    unpacked = tmp_path_factory.mktemp("data")

    @cache
    def unpack(name: str) -> Path:
        command = [sys.executable, str(PACKED / "unpack.py"), "--to", str(unpacked), name]
        subprocess.run(command, check=True, capture_output=True)
        return unpacked

    def root(name: str) -> Path:
        if (named / name).is_dir():
            return named
        if not ((PACKED / "unpack.py").exists() and (PACKED / name).is_dir()):
            pytest.skip(f"{name} is not here: adaptive-bench fetch {name}, or ADAPTIVE_BENCH_DATA=DIR")
        return unpack(name)

    return root


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A web site that is empty as yet: its folder, its address, and the paths that it was asked for."""
    folder, asked = tmp_path / "site", set()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.add(self.path)

    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield SimpleNamespace(folder=folder, asked=asked, url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def pack(path: Path, members: dict[str, bytes]) -> None:
    """A zip archive of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def spoil_first_member(path: Path) -> None:
    """One byte of its content, so that only its checksum tells."""
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        start = first.header_offset + 30 + len(first.filename)
    content = bytearray(path.read_bytes())
    content[start + 3] ^= 0xFF
    path.write_bytes(content)


def left_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def fails(name: str, root: Path, says: str, **settings: object) -> None:
    """With a message that names the cause, the address and what to do, and with nothing left behind, there or in between."""
    between = root.parent / "between"
    between.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(between))
        with pytest.raises(ValueError, match=f"the download of {name} failed: .*{says}") as caught:
            fetch(name, root=root, **settings)
    assert SOURCES[name].url in str(caught.value)
    assert f"into {root / name} by hand" in str(caught.value)
    assert list(between.iterdir()) == []
    assert not root.exists()
