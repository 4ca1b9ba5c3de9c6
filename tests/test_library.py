"""The library half: schedulers, streams and estimators in anybody's own loop, without the suite around them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import adaptive_bench

PACKAGE = Path(adaptive_bench.__file__).parent


def imported(module: str) -> set[str]:
    script = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_itself_loads_nothing_heavy():
    assert not {"torch", "pandas", "hydra", "omegaconf", "wandb", "numpy"} & imported("adaptive_bench")
    assert "adaptive_bench.schedulers" not in imported("adaptive_bench")


def test_the_rooms_of_the_public_api_are_attributes_of_the_package():
    for room in adaptive_bench.__all__:
        assert getattr(adaptive_bench, room) is sys.modules[f"adaptive_bench.{room}"]
    with pytest.raises(AttributeError, match="no attribute 'scheduler'"):
        _ = adaptive_bench.scheduler


@pytest.mark.slow
def test_type_checkers_know_the_classes_and_refuse_a_misspelt_name(tmp_path):
    (tmp_path / "user.py").write_text(
        "import adaptive_bench\n"
        "from adaptive_bench.schedulers import DiveBatch\n"
        "reveal_type(DiveBatch(initial=8, delta=0.5))\n"
        "reveal_type(adaptive_bench.schedulers.CABS)\n"
        "from adaptive_bench import scheduler\n"
        "from adaptive_bench.schedulers import DivBatch\n"
    )
    # reading torch and the others takes mypy most of a minute, and these types need none of them
    libraries = ",".join(f"{name}.*" for name in ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "sklearn"))
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nfollow_imports = silent\n[mypy-{libraries}]\nfollow_imports = skip\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "user.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
    )
    *lines, _ = done.stdout.splitlines()
    expected = ["divebatch.DiveBatch", "cabs.CABS", 'has no attribute "scheduler"', 'has no attribute "DivBatch"']
    assert len(lines) == len(expected), done.stdout
    assert all(part in line for part, line in zip(expected, lines, strict=True))
    assert (PACKAGE / "py.typed").exists()


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
