"""What a GPU does with our loop: samples a second, the cost of each estimator, and a step's time by its size.

First `Trainer.step` of resnet18 (images a second), lstm_650 and gpt_mini (tokens a second) against the shortest loop that trains
the same model on a ready batch: forward pass, loss, backward pass, torch's optimiser, nothing else. Ours also serves the batches,
crops, flips, measures time and writes the trace. Then the backward pass with each estimator as a ratio to the plain one, and the
time of a plain one at each size. Variants take turns (A B A B ...); medians over the rounds. To be run alone:

    python -m bench.gpu
    python -m bench.gpu --device cpu --small    # what a CPU can do in two minutes
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import nn

from adaptive_bench.__main__ import conf
from adaptive_bench.estimators import GradientEstimator, MicroBatch, PerSample
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.machine import accelerator
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch
from adaptive_bench.training.trainer import Trainer
from bench.throughput import write_random_images

NEEDS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})
Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model with its data, and the shape of its batches. Text has blocks of 35 tokens, as in Zaremba et al. (2014)."""

    model: str
    rows: int
    block: int = 1
    settings: tuple[str, ...] = ()

    @property
    def shape(self) -> BatchShape:
        return BatchShape(self.rows, self.block)

    def trainer(self, *, device: str, precision: str, folder: Path) -> Trainer:
        images = ("dataset=cifar10", f"dataset.root={folder}", "dataset.train_size=20000", "dataset.validation_size=100")
        text = (
            "dataset=markov_text",
            "dataset.vocabulary=10000",
            "dataset.train_size=200000",
            f"block_scheduler.initial={self.block}",
        )
        words = [
            *(images if self.block == 1 else text), f"model={self.model}", f"scheduler.initial={self.rows}", "epochs=1000",
            "evaluate_every=1000", "optimizer.lr=0.001", f"device={device}", f"precision={precision}", "progress=false",
            f"results={folder / 'results'}", *self.settings,
        ]  # fmt: skip
        with initialize_config_dir(str(conf()), version_base="1.3"):
            return experiment(compose("config", words, return_hydra_config=True))


FULL = (
    Workload(model="resnet18", rows=128),
    Workload(model="lstm_650", rows=20, block=35),
    Workload(model="gpt_mini", rows=64, block=35),
)
SMALL = (
    Workload(model="resnet8", rows=32),
    Workload(model="lstm_small", rows=8, block=35),
    Workload(model="gpt_mini", rows=2, block=35, settings=("model.layers=1",)),
)


def plain(trainer: Trainer, batch: Batch) -> Step:
    """The shortest loop, on the trainer's own model and optimiser."""
    model, optimizer = trainer.model, trainer.update.optimizer
    loss_fn = trainer.precision.applied_to(trainer.task.loss)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def measured(trainer: Trainer, batch: Batch, estimator: GradientEstimator | None) -> Step:
    """A backward pass that measures the moments of the gradient, or nothing."""
    chosen = estimator or PerSample()
    needs = NEEDS if estimator else frozenset[Stat]()
    chosen.check(trainer.model, needs)
    return partial(chosen.backward, trainer.precision.applied_to(trainer.task.loss), trainer.model, batch, needs)


def seconds(variants: Mapping[str, Step], *, steps: int, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Of a step of each variant, a number a round; a round before them is not counted."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    found: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, step in variants.items():
            wait()
            start = time.perf_counter()
            for _ in range(steps):
                step()
            wait()
            if round_:
                found[name].append((time.perf_counter() - start) / steps)
    return found


def ratio(found: Mapping[str, list[float]], name: str, *, to: str) -> float:
    return statistics.median(one / other for one, other in zip(found[name], found[to], strict=True))


def ready_batch(trainer: Trainer, shape: BatchShape) -> Batch:
    """One that no state is carried to, so that it can be trained on again and again."""
    trainer.task.train.restart_epoch()
    return replace(trainer.task.train.take(shape), place=None)


def estimators(model: nn.Module) -> dict[str, GradientEstimator | None]:
    wanted = {"per_sample, 1/8": PerSample(), "per_sample, all": PerSample(fraction=1), "microbatch, 4": MicroBatch()}
    possible = dict[str, GradientEstimator | None]({"plain": None})
    for name, each in wanted.items():
        try:
            each.check(model, NEEDS)
        except ValueError:
            continue  # no rule for some layer
        possible[name] = each
    return possible


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--small", action="store_true", help="small models, few steps")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # that MicroBatch changes what BatchNorm sees
    console, device = Console(), torch.device(chosen.device)
    name = accelerator() if device.type == "cuda" else "cpu"
    console.print(f"torch {torch.__version__}, {name}, {chosen.precision}, medians of {chosen.rounds} rounds")
    speed = Table("model", "batch", "samples a second", "plain loop", "ratio", title="Trainer.step against the shortest loop")
    costs = Table("model", "batch", "estimator", "milliseconds", "ratio to plain", title="a backward pass that measures")
    curve = Table("model", "batch", "milliseconds", "samples a second", title="a backward pass by its size")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_random_images(folder)
        for workload in SMALL if chosen.small else FULL:
            ours, other = (workload.trainer(device=chosen.device, precision=chosen.precision, folder=folder) for _ in range(2))
            timed = partial(seconds, steps=3 if chosen.small else 20, rounds=chosen.rounds, device=device)
            batch = ready_batch(other, workload.shape)
            shape = f"{workload.rows} x {workload.block}"
            found = timed({"ours": ours.step, "plain": plain(other, batch)})
            rates = [f"{workload.shape.samples / statistics.median(found[side]):,.0f}" for side in ("ours", "plain")]
            speed.add_row(workload.model, shape, *rates, f"{1 / ratio(found, 'ours', to='plain'):.3f}")
            found = timed({each: measured(other, batch, one) for each, one in estimators(other.model).items()})
            for each, times in found.items():
                cost = f"{1000 * statistics.median(times):.2f}", f"{ratio(found, each, to='plain'):.2f}"
                costs.add_row(workload.model, shape, each, *cost)
            for rows in [max(1, workload.rows // 4) * 2**power for power in range(3 if chosen.small else 6)]:
                batch = ready_batch(other, BatchShape(rows, workload.block))
                took = statistics.median(timed({"": measured(other, batch, None)})[""])
                curve.add_row(
                    workload.model, f"{rows} x {workload.block}", f"{1000 * took:.2f}", f"{batch.shape.samples / took:,.0f}"
                )
    for table in (speed, costs, curve):
        console.print(table)


if __name__ == "__main__":
    main()
