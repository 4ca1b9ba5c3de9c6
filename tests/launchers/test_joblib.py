"""Runs in processes of this machine."""

import os
import signal
from pathlib import Path

import pytest

from adaptive_bench.__main__ import main
from hydra_plugins.adaptive_bench import _joblib
from tests.daemons import until
from tests.launchers.sweeps import ENDLESS, LONG, SHORT, left, start, statuses, train, wait_for_samples, weights

TWO = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.slow
def test_a_process_that_is_killed_takes_no_other_run_with_it(tmp_path):
    words = (*LONG, *TWO, "seed=0,1,2")
    process = start(*words, into=tmp_path)
    training = wait_for_samples(process, tmp_path, runs=2)
    killed, state = next(iter(training.items()))
    os.kill(state["pid"], signal.SIGKILL)
    assert process.wait(200) == 1
    assert "3 runs: 2 done, 1 lost" in (tmp_path / "err").read_text()
    ((lost, state),) = left(tmp_path, "state.json").items()
    assert (lost, state["status"]) == (killed, "lost")
    assert "SIGKILL" in state["reason"]
    assert 0 < state["samples"] < state["budget"]
    assert "3 runs, 2 of them finished before" in train(*words, into=tmp_path)
    train(*LONG, "hydra/launcher=basic", "seed=0,1,2", into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone") != {}


@pytest.mark.slow
def test_the_processes_of_a_killed_sweep_do_not_stay(tmp_path):
    process = start(*ENDLESS, *TWO, "seed=0,1,2", into=tmp_path)
    pids = [state["pid"] for state in wait_for_samples(process, tmp_path, runs=2).values()]
    process.kill()
    process.wait()
    until(lambda: statuses(tmp_path).count("interrupted") == 2, seconds=60, what="checkpoints")
    until(lambda: not any(runs(pid) for pid in pids), seconds=_joblib.IDLE + 60, what="the end of the processes")


def runs(pid: int) -> bool:
    """Whether there is such a process, other than one that nobody has asked for its end."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(("fail_fast", "summary"), [(False, "2 done, 2 failed"), (True, "1 failed, 3 not started")])
def test_a_run_that_fails_ends_the_sweep_only_if_it_is_asked_to(fail_fast, summary, tmp_path):
    rules = "scheduler._target_=tests.launchers.sweeps.Breaking,adaptive_bench.schedulers.Fixed"
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", f"hydra.launcher.fail_fast={fail_fast}")
    said = train(*SHORT, rules, "seed=0,1", "scheduler.initial=50", *launcher, into=tmp_path, code=1)
    assert "adaptive-bench: error: failed: RuntimeError: broken\n" in said
    assert f"4 runs: {summary}" in said


def test_a_slot_has_its_own_environment_from_the_start(tmp_path):
    slots = [_joblib.Slot({"CUDA_VISIBLE_DEVICES": device}) for device in ("0", "1")]
    try:
        for slot, device in zip(slots, ("0", "1"), strict=True):
            assert slot.train(tmp_path / device, write_device) == ""
            assert (tmp_path / device).read_text() == device
    finally:
        for slot in slots:
            slot.close()


def write_device(path: Path, *, engine: str, job_id: str) -> None:
    path.write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    assert job_id == str(os.getpid())


def test_devices_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert _joblib._devices() == ["3", "5"]


def test_detaching_needs_an_engine_that_goes_on(capsys):
    assert main(["train", "-m", *SHORT, "hydra/launcher=joblib", "--detach"]) == 1
    assert "take hydra/launcher=slurm" in capsys.readouterr().err
