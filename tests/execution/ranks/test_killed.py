"""A run whose rank was killed ends as interrupted, and goes on."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.training import checkpoint
from tests.execution.ranks.conftest import NORMALISED, RECURRENT, STATEFUL, die_at, rows, together, torchrun, train


@pytest.mark.parametrize(
    ("rank", "overrides"),
    [pytest.param(0, STATEFUL, marks=pytest.mark.slow), (1, NORMALISED), pytest.param(1, RECURRENT, marks=pytest.mark.slow)],
)
def test_a_run_whose_rank_was_killed_ends_as_interrupted_and_resumes(rank, overrides, tmp_path) -> None:
    assert together(train, tmp_path / "whole", *overrides) == [0, 0]
    start = time.monotonic()
    codes = together(die_at, 9, rank, tmp_path / "killed", *overrides)
    assert time.monotonic() - start < 60
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    (folder,) = (tmp_path / "killed" / "runs").iterdir()
    state = RunFolder(tmp_path / "killed", folder.name).state()
    assert state["status"] == "interrupted"
    if rank == 1:
        assert "rank 0 of 2 lost another one" in state["reason"]
    kept = checkpoint.load(folder / "checkpoint.pt", device=torch.device("cpu"))
    assert kept is not None
    assert 0 < kept["samples"] < rows(tmp_path / "whole")["samples"].iloc[-1]
    first, second = (each["random"]["cpu"] for each in kept["ranks"])
    assert not torch.equal(first, second), "two ranks would drop the same units of different rows"
    assert together(train, tmp_path / "killed", *overrides) == [0, 0]
    pd.testing.assert_frame_equal(rows(tmp_path / "killed"), rows(tmp_path / "whole"), check_exact=True)
    weights = [rows(tmp_path / which, "record").iloc[0]["weights"] for which in ("killed", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ps") is None, reason="no ps here to find torchrun's processes with")
def test_a_killed_rank_ends_torchrun(tmp_path: Path) -> None:
    overrides = ("epochs=200", "scheduler.initial=5", "checkpoint_every=0.1")
    process = torchrun(tmp_path, *overrides)
    until, found = time.monotonic() + 90, list[int]()
    while not found and time.monotonic() < until:
        time.sleep(0.2)
        if any((tmp_path / "runs").glob("*/checkpoint.pt")):
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
            )
            found = [int(word) for word in children.stdout.split()]
    killed = time.monotonic()
    os.kill(found[-1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    (folder,) = (tmp_path / "runs").iterdir()
    assert RunFolder(tmp_path, folder.name).state()["status"] == "interrupted"
