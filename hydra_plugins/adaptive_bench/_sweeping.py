"""What all engines share: the jobs of a sweep, what a worker does with one, and how its end is known."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from adaptive_bench.experiment.record import RunFolder, reason_of
from adaptive_bench.schema import GOING_ON, HOST
from hydra_plugins.adaptive_bench.launchers import EngineLauncher

PATIENCE = 60  # seconds that processes have for the checkpoints of their runs when a sweep is ended


@dataclass(frozen=True, slots=True)
class Job:
    """A run of a sweep: its number in it, its overrides, its folder, what its config.yaml holds, and its device."""

    number: int
    overrides: tuple[str, ...]
    folder: RunFolder
    config: str
    device: str

    def queue(self, *, by: int | None) -> None:
        """Say so in the run's folder: see `RunFolder.queued`."""
        self.folder.queued(self.config, by=by)


@dataclass(frozen=True, slots=True)
class Work:
    """A sweep as its workers get it."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    singletons: Any
    directory: Path

    def composed(self, overrides: Sequence[str]) -> DictConfig:
        return self.context.config_loader.load_sweep_config(self.config, list(overrides))

    def __call__(self, job: Job, *, engine: str, job_id: str, log: str = "") -> None:
        """Train a run in this process. An error is left in the run's folder as the reason of its failure."""
        os.chdir(self.directory)
        setup_globals()
        Singleton.set_state(self.singletons)
        job.folder.note_job(engine=engine, job_id=job_id, host=HOST, log=log)
        config = self.composed(job.overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = f"{config.hydra.job.name}_{job.number}", job.number
        HydraConfig.instance().set_config(config)
        ended = run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )
        if ended.status == JobStatus.FAILED:
            job.folder.ended("failed", reason_of(ended._return_value))


class Engine(Protocol):
    """Hands jobs to an engine; yields each when it has ended, with the engine's reason if its process was lost, else "".

    What is still running when the generator is closed is ended.
    """

    def __call__(self, jobs: Sequence[Job], work: Work, **options: Any) -> Iterator[tuple[Job, str]]: ...


def launch(launcher: EngineLauncher, job_overrides: Sequence[Sequence[str]], *, first: int) -> list[JobReturn]:
    """The runs of a sweep, in the order of `job_overrides`: Hydra raises the first error among them."""
    setup_globals()
    work = Work(launcher.context, launcher.task, launcher.config, Singleton.get_state(), Path.cwd())
    jobs = [_job(work, first + number, tuple(words)) for number, words in enumerate(job_overrides)]
    if waiting := [job for job in jobs if not job.folder.finished]:
        try:
            with closing(_engine(launcher.engine)(waiting, work, **launcher.options)) as ends:
                for job, reason in ends:
                    if reason and job.folder.noted()["status"] not in ("failed", "interrupted"):  # which it said itself
                        job.folder.ended("lost", reason)
                    if launcher.fail_fast and _returned(job).status == JobStatus.FAILED:
                        break
        finally:
            if not launcher.options.get("detach"):
                for job in waiting:
                    job.folder.withdrawn()
    return [_returned(job) for job in jobs]


def _engine(name: str) -> Callable[..., Any]:
    try:
        engine: Engine = import_module(f"hydra_plugins.adaptive_bench._{name}").ends
    except ImportError as error:
        raise ValueError(f"hydra/launcher={name}: {error}; pip install 'adaptive_bench[{name}]'") from error
    return engine


def _job(work: Work, number: int, overrides: tuple[str, ...]) -> Job:
    from adaptive_bench.experiment.build import plan
    from adaptive_bench.experiment.sweep import Sweep

    planned = Sweep.watch.planned.get(frozenset(overrides)) if Sweep.watch else None
    if planned is None:  # a search chooses its runs one after the other
        config = work.composed(overrides)
        planned = plan(config, config.hydra, elsewhere=True)
    return Job(number, overrides, planned.folder, planned.config, planned.machine.device)


def _returned(job: Job) -> JobReturn:
    """The best validation metric of a finished run, or an error; None of one that is queued or that another process trains."""
    if job.folder.finished:
        return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=float(job.folder.record()["best"]))
    state = job.folder.state()
    if state["status"] in GOING_ON:
        return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
    return JobReturn(
        overrides=job.overrides, status=JobStatus.FAILED, _return_value=ValueError(f"{state['status']}: {state['reason']}")
    )
