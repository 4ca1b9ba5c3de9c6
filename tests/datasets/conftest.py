"""Where the real data is, for the tests that need it."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

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
            pytest.skip(f"{name} is not here: python scripts/fetch_data.py {name}, or ADAPTIVE_BENCH_DATA=DIR")
        return unpack(name)

    return root
