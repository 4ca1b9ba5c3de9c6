"""Shared by all tests: small configurations, composed as the command line composes them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adaptive_bench.__main__ import conf, main
from adaptive_bench.experiment.run import train
from adaptive_bench.loggers import Heartbeat, Row

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


@contextmanager
def broken_after(steps: int) -> Iterator[None]:
    """In the block, a run raises an error after so many steps."""
    taken = iter(range(steps))

    def step(self: Heartbeat, row: Row) -> None:
        if next(taken, None) is None:
            raise RuntimeError("broken")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Heartbeat, "step", step)
        yield


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    """Run `adaptive-bench` in this process: exit code, output, error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except RuntimeError as fault:  # not the user's: main lets it through, with its traceback
            print(fault, file=sys.stderr)
            code = 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of a run of three sizes, for the schedulers that replay one."""
    path = tmp_path_factory.mktemp("recorded") / "trace.parquet"
    sizes = pd.Series([32] * 10 + [16] * 10 + [64] * 10)
    steps = {
        "batch_size": sizes,
        "block_size": 1,
        "batch_size_granted": sizes,
        "block_size_granted": 1,
        "samples": sizes.cumsum(),
    }
    pd.DataFrame(steps).to_parquet(path)
    return path


@pytest.fixture
def using(recorded: Path) -> Callable[[str, float], list[str]]:
    """The overrides that take a scheduler with its own first size, or, where it replays, with a trace."""

    def overrides(scheduler: str, initial: float) -> list[str]:
        settings = OmegaConf.load(conf() / "scheduler" / f"{scheduler}.yaml")
        return [
            f"scheduler={scheduler}",
            f"scheduler.trace={recorded}" if "trace" in list(settings) else f"scheduler.initial={initial}",
        ]

    return overrides


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
