"""The library half: schedulers, streams and estimators in anybody's own loop, without the suite around them."""

import subprocess
import sys

import torch
from torch import nn


def imported(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_schedulers_need_neither_torch_nor_the_suite():
    assert not {"torch", "pandas", "hydra", "wandb", "numpy"} & imported("adaptive_bench.schedulers")


def test_streams_and_estimators_need_no_suite():
    assert not {"pandas", "hydra", "wandb", "omegaconf"} & imported("adaptive_bench.streams, adaptive_bench.estimators")


def test_the_analysis_needs_nothing_of_training():
    assert not {"torch", "hydra", "wandb", "adaptive_bench.training.trainer"} & imported("adaptive_bench.analysis")


def test_a_scheduler_in_a_loop_of_ones_own():
    from adaptive_bench.estimators import PerSample
    from adaptive_bench.schedulers import BatchShape, DiveBatch, Observation, Position, SizeRange
    from adaptive_bench.streams import VectorStream

    inputs = torch.randn(256, 5, generator=torch.Generator().manual_seed(0))
    stream = VectorStream(inputs, (inputs[:, 0] > 0).long(), seed=0)
    model = nn.Linear(5, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler, sizes, estimator = DiveBatch(initial=8, delta=0.5), SizeRange(minimum=8, maximum=128), PerSample(fraction=1.0)
    samples, batch, seen_sizes = 0, 8, []
    while samples < 1024:
        position = Position(samples, 1024, 256)
        batch = sizes.grant(scheduler.propose(position), batch)
        rows = stream.take(BatchShape(batch))
        measured = estimator.backward(
            lambda m, b: nn.functional.cross_entropy(m(b.inputs), b.targets), model, rows, scheduler.needs
        )
        optimizer.step()
        before, samples = samples, samples + len(rows)
        if samples // 256 > before // 256:
            estimator.start_epoch()
        scheduler.observe(
            Observation(
                position=Position(samples, 1024, 256),
                shape=BatchShape(len(rows)),
                lr=0.5,
                loss=measured.loss,
                stats=measured.stats,
            )
        )
        seen_sizes.append(batch)
    assert seen_sizes[0] == 8
    assert seen_sizes[-1] > 8
