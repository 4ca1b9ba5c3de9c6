"""Runs as jobs of a real Slurm, which is started here."""

import os
import signal
from pathlib import Path

import pytest

from tests.daemons import SLURM, lacking, slurm, until
from tests.launchers.sweeps import ENDLESS, LONG, RECURRENT, SHORT, left, start, statuses, train, wait_for_samples, weights

pytest.importorskip("submitit", reason="adaptive_bench[slurm] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking(SLURM)), reason=lacking(SLURM))]
ENGINE = ("hydra/launcher=slurm", "hydra.launcher.time=5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as started:
        yield started


def test_its_runs_end_as_those_of_one_process_after_the_other(cluster, tmp_path):
    for words in ((*SHORT, "scheduler=fixed,exponential", "seed=0,1"), RECURRENT):
        said = train(*words, *ENGINE, into=tmp_path, environment=cluster.environment)
        train(*words, into=tmp_path / "alone")
        assert "lost" not in said
    assert weights(tmp_path) == weights(tmp_path / "alone")
    jobs = left(tmp_path, "job.json").values()
    assert len(jobs) == 5
    assert {job["engine"] for job in jobs} == {"slurm"}
    assert all(job["host"] and Path(job["log"]).exists() for job in jobs)


@pytest.mark.parametrize("announced", ["its time is over", "a more urgent job"])
def test_what_is_announced_its_end_is_queued_again_and_goes_on(cluster, tmp_path, announced):
    words = (*LONG, *ENGINE, "seed=0,1")
    process = start(*words, into=tmp_path, environment=cluster.environment)
    training = wait_for_samples(process, tmp_path, runs=2)
    reached = {run: state["samples"] for run, state in training.items()}
    jobs = left(tmp_path, "job.json")
    if announced == "its time is over":
        cluster.ask("scancel", "--signal=USR2", *(job["job_id"] for job in jobs.values()))
    else:
        cluster.ask("sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: statuses(tmp_path) == ["queued"] * 2, seconds=120, what="both to be queued again")
    assert all(state["samples"] >= reached[run] for run, state in left(tmp_path, "state.json").items())
    assert process.wait(200) == 0, (tmp_path / "err").read_text()
    assert left(tmp_path, "job.json") == jobs  # they kept their numbers
    train(*LONG, "seed=0,1", into=tmp_path / "alone")
    assert weights(tmp_path) == weights(tmp_path / "alone") != {}


def test_a_sweep_can_be_left_and_found_again(cluster, tmp_path):
    words = (*ENDLESS, *ENGINE, "seed=0,1")
    said = train(*words, "--detach", into=tmp_path, environment=cluster.environment)
    assert "2 runs: 2 queued" in said
    jobs = left(tmp_path, "job.json")
    again = start(*words, into=tmp_path, environment=cluster.environment)
    wait_for_samples(again, tmp_path, runs=2)
    found = "slurm: 0 jobs submitted, 2 found in the queue"
    until(lambda: found in (tmp_path / "err").read_text(), seconds=60, what=found)
    # of which one is cancelled and one is killed
    assert left(tmp_path, "job.json").keys() == jobs.keys()
    assert {job["job_id"] for job in left(tmp_path, "job.json").values()} == {job["job_id"] for job in jobs.values()}
    (cancelled, job), (killed, _) = jobs.items()
    cluster.ask("scancel", job["job_id"])
    os.kill(left(tmp_path, "state.json")[killed]["pid"], signal.SIGKILL)
    assert again.wait(200) == 1
    states = left(tmp_path, "state.json")
    assert (states[cancelled]["status"], states[killed]["status"]) == ("interrupted", "lost")
    assert f"Slurm's job {jobs[killed]['job_id']} ended as FAILED; log: " in states[killed]["reason"]
    assert "1 interrupted, 1 lost" in (tmp_path / "err").read_text()


def test_a_signal_to_the_sweep_cancels_its_jobs(cluster, tmp_path):
    process = start(*ENDLESS, *ENGINE, "seed=0,1,2", into=tmp_path, environment=cluster.environment)
    wait_for_samples(process, tmp_path, runs=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    until(lambda: not cluster.ask("squeue", "-h"), seconds=60, what="an empty queue")
    assert statuses(tmp_path) == ["interrupted"] * 2
