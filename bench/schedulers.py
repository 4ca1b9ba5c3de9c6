"""What the schedulers' own logic costs: microseconds a step for every option of conf/scheduler, with made-up observations.

A step is what the loop asks of a slot: the size, the reasons, the needs, and a look at the finished step. Every statistic that a
scheduler asks for is there whenever it asks, and an evaluation at every epoch. `python bench/schedulers.py`.
"""

import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from adaptive_bench.__main__ import conf
from adaptive_bench.schedulers import BatchShape, Observation, Position, SizeRange, SizeScheduler, Stat
from adaptive_bench.training.size_controller import SizeController

EPOCH, EPOCHS, LARGEST = 10_000, 30, 512  # samples, epochs, rows
ROUNDS, LIMIT = 5, 50  # microseconds
BOUNDED = {Stat.ENTROPY, Stat.HALVES_COSINE}  # 0 to 1


def recorded(folder: Path) -> Path:
    """The trace of a run that grew, for the schedulers that replay one."""
    sizes = pd.Series([32] * 1000 + [64] * 1000 + [256] * 800)
    path = folder / "trace.parquet"
    steps = {
        "batch_size": sizes,
        "block_size": 1,
        "batch_size_granted": sizes,
        "block_size_granted": 1,
        "samples": sizes.cumsum(),
    }
    pd.DataFrame(steps).to_parquet(path)
    return path


def settings(name: str, trace: Path) -> DictConfig:
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [f"scheduler={name}", "lr_schedule=cosine"])
    if "trace" in list(OmegaConf.load(conf() / "scheduler" / f"{name}.yaml")):
        cfg.scheduler.trace = str(trace)
    OmegaConf.resolve(cfg.scheduler)
    chosen: DictConfig = cfg.scheduler
    return chosen


def microseconds(scheduler: SizeScheduler) -> float:
    """Mean over the steps of a run."""
    slot, rng = SizeController(scheduler=scheduler, sizes=SizeRange(maximum=LARGEST, multiple_of=8)), random.Random(0)
    samples, steps, seconds, budget = 0, 0, 0.0, EPOCHS * EPOCH
    while samples < budget:
        position = Position(samples, budget, EPOCH)
        start = time.perf_counter()
        size, _ = slot.advance(position)
        slot.signals(position)
        shape = BatchShape(size).within(budget - samples)
        needs = slot.needs(position, shape.samples)
        seconds += time.perf_counter() - start
        samples += shape.samples
        seen = Observation(
            position=Position(samples, budget, EPOCH), shape=shape, lr=0.1, loss=rng.uniform(0.1, 3),
            stats={stat: rng.random() if stat in BOUNDED else rng.uniform(0.1, 50) for stat in needs},
            evaluation=rng.uniform(10, 90) if samples // EPOCH > position.samples // EPOCH else None,
            seconds=shape.batch * rng.uniform(1e-4, 2e-4),
        )  # fmt: skip
        start = time.perf_counter()
        slot.observe(seen)
        seconds += time.perf_counter() - start
        steps += 1
    return 1e6 * seconds / steps


def main() -> None:
    times: dict[str, list[float]] = {path.stem: [] for path in sorted((conf() / "scheduler").glob("*.yaml"))}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on how a scheduler is used, to nobody here
        trace = recorded(Path(folder))
        chosen = {name: settings(name, trace) for name in times}
        for _ in range(ROUNDS):
            for name, taken in times.items():
                taken.append(microseconds(instantiate(chosen[name])))
    table = Table(
        "scheduler", "microseconds a step", "limit", title=f"{EPOCHS} epochs of {EPOCH} samples, median of {ROUNDS} runs"
    )
    for name, taken in times.items():
        table.add_row(name, f"{statistics.median(taken):.1f}", str(LIMIT))
    Console().print(table)


if __name__ == "__main__":
    main()
