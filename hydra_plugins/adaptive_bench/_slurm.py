"""An array of jobs of Slurm, submitted by submitit. Ends are read from squeue and the runs' folders: accounting is not needed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from adaptive_bench.execution.interruption import Interrupted
from hydra_plugins.adaptive_bench._sweeping import Job, Work

LOOK = 2  # seconds between two looks at the queue
LOOKS = 2  # in a row that find a job ended: it is for a moment, too, when it is queued again
GONE = "gone"  # from the queue, where ended jobs stay for some minutes
OVER = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", GONE)


@dataclass(frozen=True, slots=True)
class Training:
    """What a job does. It is queued again when its time is over, or when another job is to have its place."""

    work: Work

    def __call__(self, job: Job) -> None:
        here = submitit.JobEnvironment()
        known = {"engine": "slurm", "job_id": here.job_id, "log": str(here.paths.stderr)}
        try:
            self.work(job, **known)
        except Interrupted as ended:
            if ended.code == 128 + signal.SIGUSR2 or (ended.code == 128 + signal.SIGTERM and _ousted()):
                job.queue(by=None)
                job.folder.note_job(**known)
                subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
                time.sleep(60)  # Slurm ends this process
            raise

    def checkpoint(self, job: Job) -> DelayedSubmission:
        """For submitit: the signal came before the run began."""
        return DelayedSubmission(self, job)


def _ousted() -> bool:
    """Whether this job is being pre-empted: clusters that grant a time for it send SIGTERM, as scancel does."""
    words = ["scontrol", "--oneliner", "show", "job", os.environ["SLURM_JOB_ID"]]
    shown = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return " PreemptTime=2" in shown and " JobState=RUNNING " in shown


def ends(
    jobs: Sequence[Job], work: Work, *, cpus: int, gpus: int, detach: bool, folder: str, **sbatch: Any
) -> Iterator[tuple[Job, str]]:
    """Submit what is not in the queue already; where this is closed before the jobs have ended, they are cancelled."""
    if shutil.which("sbatch") is None:
        raise ValueError("hydra/launcher=slurm: there is no sbatch here; start the sweep where Slurm takes jobs")
    sbatch |= {"cpus_per_task": cpus, "gpus_per_node": gpus or None}
    waiting, queue = dict[str, Job](), _queue() or {}
    for job in jobs:
        known = job.folder.job()
        if known.get("engine") == "slurm" and queue.get(known["job_id"], GONE) not in OVER:
            waiting[known["job_id"]] = job
    submitted = _submit([job for job in jobs if job not in waiting.values()], work, folder, sbatch)
    print(f"slurm: {len(submitted)} jobs submitted, {len(waiting)} found in the queue", file=sys.stderr, flush=True)
    if detach:
        return
    waiting |= submitted
    try:
        yield from _watched(waiting)
    finally:
        if waiting:
            subprocess.run(["scancel", *waiting], check=False)


def _submit(jobs: Sequence[Job], work: Work, folder: str, sbatch: Mapping[str, Any]) -> dict[str, Job]:
    if not jobs:
        return {}
    for job in jobs:
        job.queue(by=None)
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(**{name: value for name, value in sbatch.items() if value is not None})
    submitted = dict(zip(executor.map_array(Training(work), jobs), jobs, strict=True))
    for handle, job in submitted.items():
        job.folder.note_job(engine="slurm", job_id=handle.job_id, log=str(handle.paths.stderr))
    return {handle.job_id: job for handle, job in submitted.items()}


def _watched(waiting: dict[str, Job]) -> Iterator[tuple[Job, str]]:
    """Take each job out when it has ended."""
    over = dict.fromkeys(waiting, 0)
    while waiting:
        time.sleep(LOOK)
        if (queue := _queue()) is None:  # no answer: the controller may be restarting
            continue
        for name in [*waiting]:
            state = queue.get(name, GONE)
            over[name] = over[name] + 1 if state in OVER else 0
            if over[name] >= LOOKS:
                yield waiting.pop(name), f"Slurm's job {name} ended as {state}"


def _queue() -> dict[str, str] | None:
    """The state of each job of this user by its name, ended ones for some minutes; None without an answer."""
    words = ["squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i %T"]
    asked = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if asked.returncode else dict(line.split() for line in asked.stdout.splitlines())
