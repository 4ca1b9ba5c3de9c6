"""Processes that are the ranks of one run."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from adaptive_bench.execution.ranks import STARTED
from tests.conftest import composed

RUNS = {
    "fixed": ("scheduler.initial=25",),
    "divebatch": (
        "scheduler=divebatch",
        "scheduler.initial=15",
        "scheduler.interval=1",
        "scheduler.delta=0.1",
        "scheduler.monotone=false",
    ),
    "deba": (
        "scheduler=deba",
        "scheduler.initial=16",
        "scheduler.cooldown=0.5",
        "scheduler.up=0.5",
        "scheduler.down=0.5",
        "lr_rule=sqrt",
        "epochs=6",
    ),
    "gns": ("scheduler=gns", "scheduler.initial=9", "scheduler.cooldown=0.3", "scheduler.monotone=true", "estimator=microbatch"),
    "inner_product_test": ("scheduler=inner_product_test", "scheduler.initial=9", "scheduler.theta=0.2"),
    "adascale": ("scheduler=exponential", "scheduler.initial=10", "scheduler.interval=0.7", "lr_rule=adascale"),
    "goodput": ("scheduler=goodput", "scheduler.initial=16", "scheduler.cooldown=0.5"),  # it reads a clock
}

# state that is each rank's own: what dropout draws from, and the statistics of BatchNorm
STATEFUL = (
    "model=vit_tiny", "dataset.train_size=120", "scheduler=gns", "scheduler.initial=9", "scheduler.cooldown=0.3",
    "estimator=microbatch", "estimator.chunks=2", "model.dropout=0.2", "checkpoint_every=0.3",
)  # fmt: skip
NORMALISED = (
    "model=resnet8", "dataset.train_size=120", "scheduler=gns", "scheduler.initial=9", "scheduler.cooldown=0.3",
    "checkpoint_every=0.3",
)  # fmt: skip
RECURRENT = (
    "dataset=markov_text", "model=lstm_small", "model.dropout=0.2", "dataset.train_size=3000", "scheduler=exponential",
    "scheduler.initial=4", "scheduler.interval=0.3", "block_scheduler.initial=20", "batch_size.maximum=40", "epochs=1",
    "checkpoint_every=0.1",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def together(work: Callable[..., None], *arguments: Any, count: int = 2) -> list[int | None]:
    """Exit codes of so many processes that did `work` as the ranks of one run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["adaptive_bench.experiment.run", "adaptive_bench.datasets", "adaptive_bench.models", "tests.conftest"]
    )
    port = free_port()
    processes = [context.Process(target=as_rank, args=(rank, count, port, work, arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        process.kill()  # one that waits for ever must not make the tests wait
        process.join()
    return [process.exitcode for process in processes]


def as_rank(rank: int, count: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        STARTED: "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count), "LOCAL_RANK": str(rank),
    }  # fmt: skip
    work(*arguments)


def train(results: Path, *overrides: str) -> None:
    from adaptive_bench.experiment import run

    run.train(composed(f"results={results}", *overrides))


def rows(results: Path, name: str = "trace") -> pd.DataFrame:
    (folder,) = (results / "runs").iterdir()
    frame = pd.read_parquet(folder / f"{name}.parquet")
    return frame.drop(columns=[column for column in frame if column.startswith("seconds_")])


def die_at(step: int, rank: int, results: Path, *overrides: str) -> None:
    from adaptive_bench.training import trainer

    plain, left = trainer.Trainer.step, step

    def dying(self: trainer.Trainer) -> None:
        nonlocal left
        left -= 1
        if left == 0 and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self)

    trainer.Trainer.step = dying  # type: ignore[method-assign]
    train(results, *overrides)


def torchrun(results: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "adaptive_bench"]
    small = ("dataset.train_size=200", "dataset.validation_size=50", "dataset.test_size=50", "dataset.crop=1", "epochs=2")
    return subprocess.Popen(
        [*command, "train", *small, *overrides, f"results={results}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
