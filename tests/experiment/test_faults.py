"""What goes wrong on other people's machines: nothing finished is lost, one line says what happened, and status tells."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from adaptive_bench import schema
from adaptive_bench.__main__ import main
from adaptive_bench.experiment import record
from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.training import checkpoint
from tests.daemons import until
from tests.launchers.sweeps import SHORT, TINY, left, start, statuses, train, wait_for_samples, weights

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@contextmanager
def small_disk(at: Path, *, kilobytes: int) -> Iterator[None]:
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@needs_root
@pytest.mark.slow
def test_a_full_disk_ends_runs_with_the_reason_and_leaves_what_is_finished(tmp_path):
    words = (*SHORT, "checkpoint_every=0.1", "model.hidden=[200,200]", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    with small_disk(disk := tmp_path / "disk", kilobytes=2000):
        train(*words, "seed=0", into=disk)
        kept = weights(disk)
        (disk / "filler").write_bytes(bytes(1_700_000))
        said = train(*words, "seed=0,1", into=disk, code=1)
        assert "No space left on device" in said
        assert "2 runs: 1 done, 1 failed" in said
        ((_, state),) = left(disk, "state.json").items()
        assert state["status"] == "failed"
        assert "No space left on device" in state["reason"]
        assert weights(disk) == kept
        (disk / "filler").unlink()
        for unfinished in (disk / "results").glob("runs/*/checkpoint*"):
            unfinished.unlink()
        subprocess.run(["mount", "-o", "remount,size=8000k", str(disk)], check=True)
        train(*words, "seed=0,1", into=disk)
        assert len(weights(disk)) == 2


@needs_root
@pytest.mark.slow
def test_a_folder_that_becomes_read_only_half_way(tmp_path):
    if subprocess.run(["chattr", "+i", "-R", str(tmp_path)], check=False, capture_output=True).returncode:
        pytest.skip("this file system has no files that root cannot change")
    subprocess.run(["chattr", "-i", "-R", str(tmp_path)], check=True)
    words = (*TINY, "epochs=20000", "scheduler.initial=5", "evaluate_every=1000", "hydra/launcher=joblib", "seed=0,1")
    process = start(*words, into=tmp_path)
    runs = wait_for_samples(process, tmp_path, runs=2)
    folders = [str(tmp_path / "results" / "runs" / run) for run in runs]
    subprocess.run(["chattr", "+i", *folders], check=True)
    try:
        assert process.wait(100) == 1
        said = (tmp_path / "err").read_text()
        assert "Traceback" not in said
        assert "2 runs: 2 interrupted" in said  # that they failed cannot be written
        assert "Operation not permitted" in said
    finally:
        process.kill()
        subprocess.run(["chattr", "-i", *folders], check=True)
    assert statuses(tmp_path) == ["running"] * 2  # which nobody believes
    assert main(["status", str(tmp_path / "results")]) == 0


@pytest.mark.slow
def test_a_run_whose_lock_is_deleted_is_not_trained_twice(tmp_path):
    words = (*TINY, "epochs=2000", "scheduler.initial=5", "evaluate_every=1000")
    first = start(*words, into=tmp_path)
    ((run, _),) = wait_for_samples(first, tmp_path).items()
    (tmp_path / "results" / "runs" / run / ".lock").unlink()
    assert "left to it" in subprocess.run(
        [sys.executable, "-m", "adaptive_bench", "train", *words, f"results={tmp_path / 'results'}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    first.kill()
    first.wait()


@pytest.mark.slow
def test_four_sweeps_at_once_train_each_run_once(tmp_path):
    words = (*TINY, "epochs=30", "scheduler.initial=5", "seed=0,1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    sweeps = [start(*words, into=tmp_path / str(number), results=tmp_path / "results") for number in range(4)]
    assert [sweep.wait(200) for sweep in sweeps] == [0] * 4
    said = "".join((tmp_path / str(number) / "err").read_text() for number in range(4))
    assert "Traceback" not in said
    train(*words, into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone")
    started = [pd.read_parquet(path)["started"].iloc[0] for path in (tmp_path / "results").glob("runs/*/record.parquet")]
    assert len(started) == 3


@contextmanager
def out_of_memory(pid: int) -> Iterator[None]:
    """The kernel kills this process for its next page of memory."""
    group = Path("/sys/fs/cgroup/memory") / f"adaptive_bench_{pid}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of memory can be made here: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text("65536")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists(), seconds=30, what="the end of the process")
        group.rmdir()


@needs_root
@pytest.mark.slow
def test_a_worker_that_the_kernel_kills_for_its_memory_is_one_lost_run(tmp_path):
    words = (*TINY, "epochs=100", "scheduler.initial=5", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2")
    process = start(*words, into=tmp_path)
    run, state = next(iter(wait_for_samples(process, tmp_path, runs=2).items()))
    with out_of_memory(state["pid"]):
        assert process.wait(200) == 1
    assert "3 runs: 2 done, 1 lost" in (tmp_path / "err").read_text()
    assert "SIGKILL" in left(tmp_path, "state.json")[run]["reason"]
    assert run not in weights(tmp_path)
    train(*words, into=tmp_path)
    train(*words, into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone")


def test_a_clock_that_was_set_back_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "SILENT", 1)
    folder = RunFolder(tmp_path, "f" * 16)
    folder.path.mkdir(parents=True)
    folder._state.write_text(json.dumps({"status": "running", "reason": "", "pid": 1, "host": "far", "samples": 1, "budget": 2}))
    os.utime(folder._state, (time.time() + 86_400,) * 2)
    with folder.claimed("", {}) as mine:
        assert mine


class Bomb:
    """What pickle would call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint with its digest", "weights", "npz"])
def test_a_pickle_bomb_does_not_go_off(name, tmp_path, trained):
    traces = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(traces))
    path = tmp_path / "checkpoint.pt"
    if name == "checkpoint":
        path.write_bytes(bomb)
        with pytest.raises(ValueError, match="cannot be read"):
            checkpoint.load(path, device=torch.device("cpu"))
    elif name == "checkpoint with its digest":
        checkpoint.save({"samples": Bomb(traces)}, path)
        with pytest.raises(ValueError, match="cannot be read"):
            checkpoint.load(path, device=torch.device("cpu"))
    elif name == "weights":
        folder = trained("epochs=1", "keep_weights=true")
        torch.save({"weight": Bomb(traces)}, folder / "weights.pt")
        assert main(["serve-bench", str(folder)]) == 1
    else:
        with path.open("wb") as file:
            np.savez(file, inputs=np.array([Bomb(traces)], dtype=object))
        with pytest.raises(ValueError, match="allow_pickle"), np.load(path, allow_pickle=False) as found:
            found["inputs"]
    assert not traces.exists()
    pickle.loads(bomb)  # it would have
    assert traces.exists()


YAML_BOMB = "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{}]]\n"


@pytest.mark.parametrize(
    "words",
    [
        ("train", "optimizer.lr=${{tuned:{file}}}", "arm=fixed_small"),
        ("train", "scheduler=deba", "scheduler.calibration={file}"),
        ("tables", "{results}", "--targets", "{file}"),
        ("tables", "{results}", "--device", "{file}"),
        ("serve-bench", "{run}"),
    ],
    ids=["rates", "calibration", "targets", "profile", "configuration"],
)
def test_objects_in_data_files_are_refused(words, tmp_path, trained, cli):
    run = trained("epochs=1", "keep_weights=true")
    file = run / "config.yaml" if words[-1] == "{run}" else tmp_path / "file.yaml"
    file.write_text(schema.FORM_LINE + "a: " + YAML_BOMB.format(tmp_path / "exploded"))
    filled = [word.format(file=file, run=run, results=run.parents[1]) for word in words]
    code, _, err = cli(*filled, *([f"results={tmp_path / 'new'}"] if words[0] == "train" else []))
    assert code == 1
    assert str(file) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("command", ["serve-bench", "controls"])
def test_what_only_a_results_folder_names_is_not_called(command, tmp_path, trained, cli):
    for seed in (0, 1):
        run = trained("epochs=1", "keep_weights=true", "scheduler=exponential", f"seed={seed}")
        config = run / "config.yaml"
        content, count = re.subn(r"_target_: adaptive_bench.models.*", f"_target_: {__name__}.called", config.read_text())
        assert count == 1
        config.write_text(content)
    words = [str(run)] if command == "serve-bench" else [str(run.parents[1]), "exponential"]
    code, _, err = cli(command, *words)
    assert code == 1
    assert f"{__name__}.called is in no option of adaptive-bench" in err
    assert "--config-dir DIR" in err
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("_target_: tests.experiment.test_faults.called\n")
    _, _, err = cli(command, *words, "--config-dir", str(tmp_path / "mine"))
    assert "is in no option" not in err


def called(**settings):
    raise ValueError("called")
