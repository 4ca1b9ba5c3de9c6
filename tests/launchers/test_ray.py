"""Runs as tasks of a Ray cluster, in a network namespace of its own: Ray listens on every address."""

import os
import shutil
import signal

import pytest

from tests.daemons import APART, ray
from tests.launchers.sweeps import ENDLESS, LONG, RECURRENT, SHORT, left, start, statuses, train, wait_for_samples, weights

pytest.importorskip("ray", reason="adaptive_bench[ray] is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a network namespace needs root and unshare"),
]
ENGINE = ("hydra/launcher=ray",)


def test_its_runs_end_as_those_of_one_process_after_the_other(tmp_path):
    for words in ((*SHORT, "scheduler=fixed,exponential", "seed=0,1"), RECURRENT):
        train(*words, *ENGINE, into=tmp_path, python=APART)
        train(*words, into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone")
    assert [job["engine"] for job in left(tmp_path, "job.json").values()] == ["ray"] * 5


def test_a_run_whose_process_is_killed_is_trained_to_its_end(tmp_path):
    words = (*LONG, "seed=0,1")
    process = start(*words, *ENGINE, into=tmp_path, python=APART)
    training = wait_for_samples(process, tmp_path, runs=2)
    os.kill(next(iter(training.values()))["pid"], signal.SIGKILL)
    assert process.wait(200) == 0, (tmp_path / "err").read_text()
    train(*words, into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone") != {}


def test_a_signal_to_the_sweep_ends_its_runs_with_checkpoints(tmp_path):
    process = start(*ENDLESS, *ENGINE, "seed=0,1,2", into=tmp_path, python=APART)
    wait_for_samples(process, tmp_path, runs=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) == 143
    assert statuses(tmp_path) == ["interrupted"] * 2
    assert len([*(tmp_path / "results").glob("runs/*/checkpoint.pt")]) == 2


def test_a_cluster_that_runs_already_trains_a_rule_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text("from adaptive_bench.schedulers import Exponential as Own\n")
    words = (*SHORT, "scheduler=exponential", "scheduler._target_=mine.Own", "seed=0,1")
    own = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with ray() as python:
        address = "hydra.launcher.address=auto"
        train(*words, *ENGINE, address, into=tmp_path / "there", python=python, environment=own)
        assert {job["engine"] for job in left(tmp_path / "there", "job.json").values()} == {"ray"}
    train(*words, into=tmp_path / "alone", environment=own)
    assert weights(tmp_path / "there") == weights(tmp_path / "alone") != {}
