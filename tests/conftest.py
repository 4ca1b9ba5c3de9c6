"""Shared by all tests: small configurations, composed as the command line composes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from adaptive_bench.__main__ import conf
from adaptive_bench.run import train

torch.set_num_threads(1)

# a run of a second or less that still has every part: augmentation, BatchNorm, momentum, a schedule
SMALL = (
    "dataset.train_size=200",
    "dataset.validation_size=50",
    "dataset.test_size=50",
    "epochs=2",
    "threads=1",
    "progress=false",
    "optimizer.lr=0.1",
)


def composed(*overrides: str) -> DictConfig:
    """The job's configuration, and Hydra told about it, as inside `adaptive-bench train`."""
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [*SMALL, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return cfg


@pytest.fixture
def compose_small() -> Callable[..., DictConfig]:
    return composed


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Path]:
    """Train one small run and return its folder."""

    def run(*overrides: str) -> Path:
        cfg = composed(f"results={tmp_path}", *overrides)
        before = set((tmp_path / "runs").glob("*"))
        train(cfg)
        (folder,) = set((tmp_path / "runs").glob("*")) - before
        return folder

    return run
