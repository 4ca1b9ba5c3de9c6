"""A run that is ready to train, for programs that train it themselves: benchmarks and tests."""

from omegaconf import DictConfig

from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.experiment.build import build, plan
from adaptive_bench.training.trainer import Trainer


def experiment(cfg: DictConfig, *, among: Ranks | None = None) -> Trainer:
    """The trainer of a configuration that was composed with `return_hydra_config=True`; makes the run's folder.

    `among` are the processes that train it, by default this one alone. Nothing is recorded: that is `experiment.run`'s part.
    Raises ValueError for a configuration that cannot be run.
    """
    planned = plan(cfg, cfg.hydra)
    planned.folder.path.mkdir(parents=True, exist_ok=True)  # heartbeats and checkpoints go there
    return build(cfg, planned, among=among)
