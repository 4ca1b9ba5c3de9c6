"""Runs beside each other on this machine, in processes of joblib's loky."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue

import torch
from joblib.externals.loky import ProcessPoolExecutor

from adaptive_bench.execution.interruption import Interrupted
from adaptive_bench.experiment.machine import available_cores
from hydra_plugins.adaptive_bench._sweeping import PATIENCE, Job, Work

IDLE = 20  # seconds without a run after which a process ends, also one whose parent was killed


class Slot:
    """A process that trains one run after the other, in an environment of its own; a new one if it was lost or got a signal."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._pool: ProcessPoolExecutor | None = None

    def train(self, job: Job, work: Work) -> str:
        """The reason why the run was lost, or ""."""
        try:
            self._pool = self._pool or ProcessPoolExecutor(1, timeout=IDLE, env=self.environment)
            self._pool.submit(_train, job, work).result()
        except (BrokenProcessPool, Interrupted) as error:
            self.close()
            return "" if isinstance(error, Interrupted) else " ".join(str(error).split())
        return ""

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)
        self._pool = None


def _train(job: Job, work: Work) -> None:
    work(job, engine="joblib", job_id=str(os.getpid()))


def ends(jobs: Sequence[Job], work: Work, *, n_jobs: int) -> Iterator[tuple[Job, str]]:
    """So many slots, with a device each in turn. A process that is lost takes no run with it but its own."""
    count = min(n_jobs if n_jobs > 0 else available_cores(), len(jobs))
    devices = _devices() if jobs[0].device == "cuda" else [None]
    slots = [Slot({} if each is None else {"CUDA_VISIBLE_DEVICES": each}) for each in (devices * count)[:count]]
    free = SimpleQueue[Slot]()
    for slot in slots:
        free.put(slot)

    def train(job: Job) -> str:
        slot = free.get()
        try:
            return slot.train(job, work)
        finally:
            free.put(slot)

    threads = ThreadPoolExecutor(count)
    for job in jobs:
        job.queue(by=os.getpid())
    futures = {threads.submit(train, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        try:
            if running := [future for future in futures if not future.done()]:
                for process in multiprocessing.active_children():
                    process.terminate()
                wait(running, timeout=PATIENCE)
        finally:  # a second signal does not wait
            for slot in slots:
                slot.close()


def _devices() -> list[str | None]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [*(visible.split(",") if visible else map(str, range(torch.cuda.device_count())))]
