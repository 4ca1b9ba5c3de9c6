"""The recipes of CONTRIBUTING.md, written to files as they stand, work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from adaptive_bench.__main__ import conf

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"
FILES = dict(re.findall(r"^`(mine/\S+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))
PARTS = ("scheduler=inverse", "lr_rule=cube_root", "dataset=stripes", "model=perceptron")


def test_the_page_has_a_file_and_a_yaml_of_every_part():
    assert len(FILES) == 2 * len(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_added_as_the_page_says(cli, tmp_path, monkeypatch, part):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    small = ("epochs=1", "threads=1", "progress=false", "results=here")
    code, _, err = cli("train", f"--config-dir={tmp_path / 'mine' / 'conf'}", part, *small)
    assert (code, err) == (0, "")
    (trace,) = (tmp_path / "here").glob("runs/*/trace.parquet")
    assert len(pd.read_parquet(trace))


READER = """
from dataclasses import dataclass

from adaptive_bench.schedulers.fixed import Fixed
from adaptive_bench.stats import Stat


@dataclass(kw_only=True)
class Cautious(Fixed):
    needs = frozenset({Stat.GRAD_MAX, Stat.GRAD_NORM})
"""


@pytest.mark.slow
def test_a_statistic_is_added_as_the_page_says(tmp_path):
    root = conf().parent
    for folder in ("adaptive_bench", "conf"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (patch,) = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    subprocess.run(["git", "apply", "-p0"], input=patch, text=True, cwd=tmp_path, check=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cautious.py").write_text(READER)
    (tmp_path / "mine" / "conf" / "scheduler").mkdir(parents=True)
    (tmp_path / "mine" / "conf" / "scheduler" / "cautious.yaml").write_text("_target_: mine.cautious.Cautious\n")
    chosen = ("--config-dir=mine/conf", "scheduler=cautious", "epochs=1", "threads=1", "progress=false", "results=here")
    train = [sys.executable, "-m", "adaptive_bench", "train", *chosen]
    subprocess.run(train, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True)
    (trace,) = (tmp_path / "here").glob("runs/*/trace.parquet")
    steps = pd.read_parquet(trace)
    assert (steps["grad_max"] > 0).all()
    assert (steps["grad_max"] <= steps["grad_norm"]).all()


def test_the_map_names_files_that_exist():
    package = conf().parent / "adaptive_bench"
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE.read_text().partition("## Where things are")[2])
    assert len(named) > 10
    assert [name for name in named if not (package / name).exists()] == []
