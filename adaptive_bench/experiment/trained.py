"""The trained model of a finished run that kept its weights."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.experiment import machine
from adaptive_bench.experiment.build import make
from adaptive_bench.experiment.catalogue import check_targets
from adaptive_bench.schema import WEIGHTS
from adaptive_bench.serving.live import Forward, torch_forward
from adaptive_bench.sizes import BatchShape

SAMPLES = 64  # different requests that are sent


def trained(folder: Path, *, conf: Path, more: Path | None = None) -> tuple[Forward, Sequence[Tensor]]:
    """The forward pass of a run's model, on the run's device, and training inputs to ask it.

    Rows of text have the first block size of the run. Raises ValueError if the folder does not hold a run with its weights, or if
    the run has other parts than the options in `conf` and `more`.
    """
    if not (folder / "config.yaml").is_file():
        raise ValueError(f"{folder}: no run's folder, which has a config.yaml; RESULTS/runs/DIGEST is expected")
    if not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"{folder}: it has no {WEIGHTS}; train the run with keep_weights=true, in another results folder if it is finished"
        )
    check_targets([folder / "config.yaml"], conf, more=more)
    cfg = OmegaConf.load(folder / "config.yaml")
    assert isinstance(cfg, DictConfig)
    device = machine.prepare(device=cfg.device, threads=cfg.threads, jobs=1).device
    model, task = _rebuilt(cfg)
    try:
        model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder / WEIGHTS} cannot be read ({' '.join(str(error).split())})") from error
    block = min(int(cfg.block_scheduler.initial), task.train.epoch_samples) if task.has_blocks else 1
    rows = task.train.take(BatchShape(min(SAMPLES, task.train.epoch_samples // block), block)).inputs
    return torch_forward(model, device=device), rows.unbind()


def _rebuilt(cfg: DictConfig) -> tuple[nn.Module, Task]:
    task: Task = make(cfg, "dataset", seed=cfg.seed, device=torch.device("cpu"))
    model: nn.Module = make(cfg, "model", inputs=task.inputs, outputs=task.outputs)
    return model, task
