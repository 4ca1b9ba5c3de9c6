"""`hydra/launcher=joblib|slurm|ray`. Hydra imports this file at every start, so engines are imported when a sweep is launched."""

from collections.abc import Sequence
from typing import Any, ClassVar

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class EngineLauncher(Launcher):
    """Hands the runs of a sweep to its engine. The options are those of conf/hydra/launcher."""

    engine: ClassVar[str]

    def __init__(self, *, fail_fast: bool, **options: Any) -> None:
        self.fail_fast, self.options = fail_fast, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the runs that are not finished; what each has left in its folder is its end."""
        from hydra_plugins.adaptive_bench import _sweeping

        return _sweeping.launch(self, job_overrides, first=initial_job_idx)


class JoblibLauncher(EngineLauncher):
    """Processes of this machine."""

    engine = "joblib"


class SlurmLauncher(EngineLauncher):
    """An array of jobs of Slurm."""

    engine = "slurm"


class RayLauncher(EngineLauncher):
    """Tasks of a Ray cluster."""

    engine = "ray"
