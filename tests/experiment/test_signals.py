"""A signal ends a run at its next step, with a checkpoint; in a sweep it ends the workers, too."""

import os
import signal
import time

import pytest

from tests.launchers.sweeps import LONG, left, start, statuses, wait_for_samples, weights

ALONE = {"flags": ()}


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGUSR1", "SIGUSR2"))]
)
def test_a_signal_ends_a_run_at_its_next_step_and_it_goes_on(name, tmp_path):
    number = signal.Signals[name]
    process = start(*LONG, into=tmp_path, **ALONE)
    wait_for_samples(process, tmp_path)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert (tmp_path / "err").read_text().splitlines() == [
        f"adaptive-bench: ended by {name}; the same command goes on from what is finished and kept"
    ]
    (state,) = left(tmp_path, "state.json").values()
    assert (state["status"], state["reason"]) == ("interrupted", f"Interrupted: {name}")
    assert 0 < state["samples"] < state["budget"] == 400 * 200
    assert any((tmp_path / "results").glob("runs/*/checkpoint.pt"))
    # to its end, as one that was never ended
    again = start(*LONG, into=tmp_path, **ALONE)
    whole_at = tmp_path / "whole"
    assert again.wait(60) == 0
    assert start(*LONG, into=whole_at, **ALONE).wait(60) == 0
    assert weights(tmp_path) == weights(whole_at) != {}


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(tmp_path):
    process = start(*LONG, "evaluate_every=0.001", "model.hidden=[4000,4000]", into=tmp_path, **ALONE)
    wait_for_samples(process, tmp_path)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_to_a_sweep_ends_its_workers_with_checkpoints(group, tmp_path):
    words = (*LONG, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2,3,4")
    process = start(*words, into=tmp_path)
    wait_for_samples(process, tmp_path, runs=2)
    if group:  # as a terminal does
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == (130 if group else 143)
    until = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):  # nobody is left of its group, joblib's keeper of files being the last
        while time.monotonic() < until:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert statuses(tmp_path) == ["interrupted"] * 2
    assert len([*(tmp_path / "results").glob("runs/*/checkpoint.pt")]) == 2
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert "2 interrupted, 3 not started" in (tmp_path / "err").read_text()
