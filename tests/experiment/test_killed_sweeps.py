"""Commands of many runs that are killed, workers and all, and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.analysis.conftest import without_clocks

SMALL = ("model=mlp", "dataset.train_size=200", "epochs=2", "evaluate_every={first: 0.2, factor: 1.3}", "batch_size.maximum=64")
TWO_JOBS = ("hydra.launcher.n_jobs=2", "threads=1")


@pytest.fixture
def here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(*words: str) -> str:
    """What a command prints. In a process of its own, for its workers outlive it and stay in the folder where they started."""
    ran = subprocess.run([sys.executable, "-m", "adaptive_bench", *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def kill(*words: str, runs: Path, after: int) -> None:
    """Start a command in two workers, and kill it with them when `after` runs are done; others are then in the middle."""
    with Path("said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "adaptive_bench", *words], start_new_session=True, stdout=said, stderr=said
        )
    while len([*runs.glob("*/record.parquet")]) < after:
        assert process.poll() is None, Path("said").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_tune_chooses_the_same_rates(here) -> None:
    def words(name: str) -> tuple[str, ...]:
        grid = ("--rates", "3", "--factor", "4", "-o", f"{name}.yaml")
        return ("tune", "demo", *SMALL, *TWO_JOBS, "arm=fixed_small,gns", *grid, f"results={name}")

    kill(*words("killed"), runs=Path("killed/tuning/runs"), after=4)
    assert not Path("killed.yaml").exists()
    assert "finished before" in command(*words("killed"))
    command(*words("whole"))
    assert OmegaConf.load("killed.yaml") == OmegaConf.load("whole.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["gns", "divebatch"])
def test_killed_controls_give_the_same_table(here, arm: str) -> None:
    for scheduler in ("fixed", arm):
        command("train", "-m", *SMALL, f"scheduler={scheduler}", "scheduler.initial=8", "seed=0,1,2", "results=killed")
    shutil.copytree("killed", "whole")
    kill("controls", "killed", arm, "hydra/launcher=joblib", *TWO_JOBS, runs=Path("killed/runs"), after=6 + 5)
    told = []
    for folder in ("killed", "whole"):
        said = command("controls", folder, arm, "hydra/launcher=joblib", *TWO_JOBS)
        assert ("finished before" in said) == (folder == "killed")
        table = json.loads(command("tables", folder, "--format", "json"))[0]
        kept = {key: table[key] for key in ("effects", "break_even", "target")}
        told.append(kept | {"rows": [without_clocks(row) for row in table["rows"]]})
    assert told[0] == told[1]
    assert [effect["effect"] for effect in told[0]["effects"]] == ["variation", "order", "feedback"]
