"""What measuring gradient statistics costs in memory: the peak of a few steps with each estimator as a ratio to plain steps.

ResNet-20 with GroupNorm, batch 128, one thread, on Linux. Every variant runs in a process of its own, whose peak of resident
memory is reset when everything is built: what counts is how far it grows during the steps. `python bench/memory.py`.
"""

import re
import statistics
import subprocess
import sys
from pathlib import Path

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

ROWS, STEPS, ROUNDS = 128, 4, 3
NEEDS, NOTHING = frozenset({Stat.MEAN_SAMPLE_SQ_NORM}), frozenset[Stat]()
PLAIN, SAMPLED = "plain", "per_sample, 1/8 of the rows"
LIMITS = {SAMPLED: 1.15}
VARIANTS: dict[str, tuple[GradientEstimator, frozenset[Stat]]] = {
    PLAIN: (PerSample(), NOTHING),
    SAMPLED: (PerSample(fraction=1 / 8), NEEDS),
    "per_sample, exact": (PerSample(fraction=1.0), NEEDS),
    "microbatch, 4 chunks": (MicroBatch(chunks=4), NEEDS),
}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return F.cross_entropy(model(batch.inputs), batch.targets)


def resident(field: str) -> int:
    """Kilobytes of this process: VmRSS now, VmHWM at the peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def growth(estimator: GradientEstimator, needs: frozenset[Stat]) -> int:
    """Kilobytes between the state before the first step and the peak of the steps."""
    torch.manual_seed(0)
    model = resnet20(inputs=(3, 32, 32), outputs=10, norm="group").to(memory_format=torch.channels_last)
    images = torch.randn(ROWS, 3, 32, 32).to(memory_format=torch.channels_last)
    batch = Batch(images, torch.randint(0, 10, (ROWS,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident("VmRSS")
    for _ in range(STEPS):
        estimator.backward(loss, model, batch, needs)
        optimizer.step()
    return resident("VmHWM") - before


def measured(variant: str) -> int:
    done = subprocess.run([sys.executable, __file__, variant], capture_output=True, text=True, check=True)
    return int(done.stdout)


def main() -> None:
    kilobytes: dict[str, list[int]] = {variant: [] for variant in VARIANTS}
    for _ in range(ROUNDS):
        for variant, taken in kilobytes.items():
            taken.append(measured(variant))
    medians = {variant: statistics.median(taken) for variant, taken in kilobytes.items()}
    title = f"torch {torch.__version__}, {STEPS} steps, median of {ROUNDS} processes"
    table = Table("estimator", "megabytes at the peak", "ratio to plain", "limit", title=title)
    for variant, median in medians.items():
        limit = f"{LIMITS[variant]:.2f}" if variant in LIMITS else ""
        table.add_row(variant, f"{median / 1024:.0f}", f"{median / medians[PLAIN]:.3f}", limit)
    Console().print(table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        prepare(device="cpu", threads=1, jobs=1)
        print(growth(*VARIANTS[sys.argv[1]]))
    else:
        main()
