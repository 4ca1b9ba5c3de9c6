"""`hydra/launcher=joblib|slurm|ray`. Hydra imports this file at every start, so engines are imported when a sweep is launched."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class EngineLauncher(Launcher):
    """Hands the runs of a sweep to an engine: `_ENGINE.py` beside this file. The options are those of conf/hydra/launcher."""

    def __init__(self, *, engine: str, fail_fast: bool, **options: Any) -> None:
        self.engine, self.fail_fast, self.options = engine, fail_fast, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the runs that are not finished; what each has left in its folder is its end."""
        from hydra_plugins.adaptive_bench import _sweeping

        return _sweeping.launch(self, job_overrides, first=initial_job_idx)
