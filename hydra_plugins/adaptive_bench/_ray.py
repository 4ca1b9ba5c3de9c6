"""Tasks of a Ray cluster: one that is started here, or one that runs already, by its address."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed, wait

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from adaptive_bench.execution.interruption import SIGNALS
from hydra_plugins.adaptive_bench._sweeping import PATIENCE, Job, Work


def _train(job: Job, work: Work) -> None:
    work(job, engine="ray", job_id=ray.get_runtime_context().get_task_id() or "")


def ends(
    jobs: Sequence[Job], work: Work, *, address: str | None, cpus: int, gpus: float, retries: int
) -> Iterator[tuple[Job, str]]:
    """A run whose process or machine is lost starts again elsewhere, from its checkpoint, `retries` times at most."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}  # a running cluster does not have it
    start = {"include_dashboard": False} if address is None else {"address": address}
    ray.init(**start, runtime_env={"env_vars": ours}, log_to_driver=False, logging_level=logging.WARNING)
    for number, handler in handlers.items():  # which Ray has replaced by its own
        signal.signal(number, handler)
    train = ray.remote(_train).options(num_cpus=cpus, num_gpus=gpus, max_retries=retries)
    shipped = ray.put(work)
    for job in jobs:
        job.queue(by=os.getpid())
    tasks = {train.remote(job, shipped): job for job in jobs}
    futures = {task.future(): task for task in tasks}  # ray.wait would turn a signal into an error of its own
    try:
        for future in as_completed(futures):
            yield tasks[futures[future]], " ".join(str(future.exception() or "").split())
    finally:
        for future, task in futures.items():
            if not future.done():
                ray.cancel(task)  # to its process as SIGINT
        wait(futures, timeout=PATIENCE)
        ray.shutdown()
