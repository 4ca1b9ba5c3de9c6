"""What measuring gradient statistics costs: step time with each estimator as a ratio to the plain step.

ResNet-20 with GroupNorm, batch 128, one thread. The variants take turns (A B C A B C ...), so that a drift of the machine's
speed hits all of them; medians over the rounds. Then the same for runs of ten steps of which the first is measured, step by
step against plain ones. Run it alone: `make bench`.
"""

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from adaptive_bench.estimators import GradientEstimator, MicroBatch, PerSample
from adaptive_bench.experiment.machine import prepare
from adaptive_bench.models import resnet20
from adaptive_bench.schedulers import Stat
from adaptive_bench.streams import Batch

ROWS, ROUNDS, RUNS = 128, 15, 7
NEEDS, NOTHING = frozenset({Stat.MEAN_SAMPLE_SQ_NORM}), frozenset[Stat]()
PLAIN, SAMPLED, EXACT, CHUNKS = "plain", "per_sample, 1/8 of the rows", "per_sample, exact", "microbatch, 4 chunks"
TENTH = "per_sample, 1/8 of the rows, every 10th step"
LIMITS = {SAMPLED: 1.15, EXACT: 1.8, TENTH: 1.02}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.inputs), batch.targets)


def seconds(estimator: GradientEstimator, model: nn.Module, batch: Batch, needs: frozenset[Stat]) -> float:
    start = time.perf_counter()
    estimator.backward(loss, model, batch, needs)
    return time.perf_counter() - start


def every_step(model: nn.Module, batch: Batch) -> dict[str, tuple[float, float]]:
    """Medians over the rounds: seconds a step of each variant, and their ratio to the plain step of the same round."""
    variants: dict[str, tuple[GradientEstimator, frozenset[Stat]]] = {
        PLAIN: (PerSample(), NOTHING),
        SAMPLED: (PerSample(fraction=1 / 8), NEEDS),
        EXACT: (PerSample(fraction=1.0), NEEDS),
        CHUNKS: (MicroBatch(chunks=4), NEEDS),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS + 2):
        for name, (estimator, needs) in variants.items():
            times[name].append(seconds(estimator, model, batch, needs))
    warm = {name: taken[2:] for name, taken in times.items()}
    ratios = {name: [one / plain for one, plain in zip(taken, warm[PLAIN], strict=True)] for name, taken in warm.items()}
    return {name: (statistics.median(taken), statistics.median(ratios[name])) for name, taken in warm.items()}


def every_tenth_step(model: nn.Module, batch: Batch) -> tuple[float, float]:
    """Median over runs of ten steps: seconds a step if the first is measured, and its ratio to the plain steps of that run."""
    estimator, means, ratios = PerSample(fraction=1 / 8), [], []
    for _ in range(RUNS):
        plain = measured = 0.0
        for step in range(10):
            plain += seconds(estimator, model, batch, NOTHING)
            measured += seconds(estimator, model, batch, NOTHING if step else NEEDS)
        means.append(measured / 10)
        ratios.append(measured / plain)
    return statistics.median(means), statistics.median(ratios)


def main() -> None:
    here = prepare(device="cpu", threads=1, jobs=1)
    torch.manual_seed(0)
    model = resnet20(inputs=(3, 32, 32), outputs=10, norm="group").to(memory_format=torch.channels_last)
    images = torch.randn(ROWS, 3, 32, 32).to(memory_format=torch.channels_last)
    batch = Batch(images, torch.randint(0, 10, (ROWS,)))
    rows = every_step(model, batch) | {TENTH: every_tenth_step(model, batch)}
    title = f"torch {here.torch}, {here.allocator}, 1 thread"
    table = Table("estimator", "milliseconds a step", "ratio to plain", "limit", title=title)
    for name, (median, ratio) in rows.items():
        table.add_row(name, f"{1000 * median:.1f}", f"{ratio:.3f}", f"{LIMITS[name]:.2f}" if name in LIMITS else "")
    Console().print(table)


if __name__ == "__main__":
    main()
