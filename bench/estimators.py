"""What measuring gradient statistics costs: step time with each estimator as a ratio to the plain step.

ResNet-20 with GroupNorm, batch 128, one thread. The variants take turns (A B C A B C ...), so that a drift of the machine's
speed hits all of them; medians over the rounds. Run it alone: `make bench`.
"""

import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from adaptive_bench.estimators import GradientEstimator, MicroBatch, PerSample
from adaptive_bench.machine import prepare
from adaptive_bench.models import resnet20
from adaptive_bench.schedulers import Stat
from adaptive_bench.streams import Batch

ROWS, ROUNDS = 128, 15
NEEDS = frozenset({Stat.SAMPLE_SQ_NORMS})


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.inputs), batch.targets)


def seconds(estimator: GradientEstimator, model: nn.Module, batch: Batch, needs: frozenset[Stat]) -> float:
    start = time.perf_counter()
    estimator.backward(loss, model, batch, needs)
    return time.perf_counter() - start


def main() -> None:
    here = prepare(device="cpu", threads=1, jobs=1)
    torch.manual_seed(0)
    model = resnet20(inputs=(3, 32, 32), outputs=10, norm="group").to(memory_format=torch.channels_last)
    images = torch.randn(ROWS, 3, 32, 32).to(memory_format=torch.channels_last)
    batch = Batch(images, torch.randint(0, 10, (ROWS,)))
    variants: dict[str, tuple[GradientEstimator, frozenset[Stat]]] = {
        "plain": (PerSample(), frozenset()),
        "per_sample, 1/8 of the rows": (PerSample(fraction=1 / 8), NEEDS),
        "per_sample, exact": (PerSample(fraction=1.0), NEEDS),
        "microbatch, 4 chunks": (MicroBatch(chunks=4), NEEDS),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS + 2):
        for name, (estimator, needs) in variants.items():
            times[name].append(seconds(estimator, model, batch, needs))
    medians = {name: statistics.median(taken[2:]) for name, taken in times.items()}  # the first two warm up
    table = Table("estimator", "milliseconds a step", "ratio to plain", title=f"torch {here.torch}, {here.allocator}, 1 thread")
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median:.1f}", f"{median / medians['plain']:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
