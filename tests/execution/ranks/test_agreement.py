"""Where ranks could come to differ, the first one decides; and ranks that do not belong together refuse."""

import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from adaptive_bench.datasets.base import Evaluation
from adaptive_bench.datasets.classification import Classification
from adaptive_bench.estimators import GradientEstimator
from adaptive_bench.execution.clock import Now
from adaptive_bench.execution.ranks import RankLost, join
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.build import plan
from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.schema import FORM_LINE
from adaptive_bench.stats import Stat
from adaptive_bench.training.checkpoint import weights_digest
from tests.conftest import composed
from tests.execution.ranks.conftest import NORMALISED, RUNS, die_at, together, train


def train_unlike(folder: Path, unlike: str, *overrides: str) -> None:
    """Train with a second rank whose clock, evaluations, statistics or weights are others, and keep what each rank saw."""
    ranks = join(torch.device("cpu"))
    if ranks.rank == 1:
        _DIFFERENCES[unlike]()
    trainer = experiment(composed(f"results={folder}", *overrides), among=ranks)
    if ranks.rank == 1 and unlike == "weights":
        with torch.no_grad():
            next(trainer.model.parameters()).add_(0.1)
    trainer.run()
    columns = ("batch_size", "loss", "lr", *map(str, trainer.needs))
    seen = {
        "steps": [[row[column] for column in columns] for row in trainer.steps],
        "values": [row["value"] for row in trainer.evaluations],
        "weights": weights_digest(trainer.model),
    }
    torch.save(seen, folder / f"{ranks.rank}.pt")


def _slow_clock() -> None:
    plain = Now.elapsed_time
    Now.elapsed_time = lambda self, end: 7 * plain(self, end)  # type: ignore[method-assign]


def _better_evaluations() -> None:
    plain, times = Classification.evaluate, itertools.count()

    def evaluate(self: Classification, model: nn.Module, split: str) -> Evaluation:
        return replace(plain(self, model, split), value=10.0 * 3.0 ** next(times))

    Classification.evaluate = evaluate  # type: ignore[method-assign]


def _larger_statistics() -> None:
    plain = GradientEstimator._statistics

    def statistics(self: GradientEstimator, *arguments: Any) -> dict[Stat, float]:
        return {stat: 30 * value for stat, value in plain(self, *arguments).items()}

    GradientEstimator._statistics = statistics  # type: ignore[method-assign]


_DIFFERENCES: dict[str, Callable[[], None]] = {
    "clock": _slow_clock,
    "evaluations": _better_evaluations,
    "statistics": _larger_statistics,
    "weights": lambda: None,
}


@pytest.mark.parametrize(
    ("unlike", "overrides"),
    [
        pytest.param("clock", (*RUNS["goodput"], "epochs=5"), marks=pytest.mark.slow),
        pytest.param(
            "evaluations",
            (
                "scheduler=plateau",
                "scheduler.initial=10",
                "scheduler.patience=1",
                "scheduler.threshold=0.5",
                "epochs=5",
                "optimizer.lr=0.001",
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param("statistics", RUNS["gns"], marks=pytest.mark.slow),
        ("weights", NORMALISED),
    ],
)
def test_the_first_rank_decides_for_all(unlike: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    assert together(train_unlike, tmp_path, unlike, *overrides) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    np.testing.assert_array_equal(first["steps"], second["steps"])  # nan equals nan
    assert first["values"] == second["values"]
    assert first["weights"] == second["weights"]
    assert len({size for size, *_ in first["steps"]}) > 1


def train_apart(results: Path, apart: str, *overrides: str) -> None:
    """Train with a second rank that was started in another way."""
    second = os.environ["RANK"] == "1"
    if second and apart == "folder":
        results = results.with_name("elsewhere")
    try:
        train(results, *overrides, *(["seed=1"] if second and apart == "seed" else []))
    except (ValueError, RankLost) as error:
        results.parent.joinpath(f"error{os.environ['RANK']}.txt").write_text(str(error))
        raise


def test_ranks_that_were_started_differently_refuse(tmp_path: Path) -> None:
    assert together(train_apart, tmp_path / "results", "seed") == [1, 1]
    for rank in range(2):
        assert "the processes of this run have different settings" in (tmp_path / f"error{rank}.txt").read_text()
    assert not (tmp_path / "results").exists()


def test_a_rank_that_does_not_see_the_checkpoint_refuses(tmp_path: Path) -> None:
    assert together(die_at, 9, 1, tmp_path / "results", *NORMALISED)[1] == -signal.SIGKILL
    assert together(train_apart, tmp_path / "results", "folder", *NORMALISED) == [1, 1]
    assert "rank 1 finds no samples trained, the first rank" in (tmp_path / "error1.txt").read_text()
    assert "rank 0 of 2 lost another one" in (tmp_path / "error0.txt").read_text()
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    assert RunFolder(tmp_path / "results", folder.name).state()["status"] == "interrupted"


def test_what_the_first_rank_finds_in_the_folder_holds_for_all(tmp_path: Path) -> None:
    results = tmp_path / "results"
    overrides = ("dataset.train_size=40", "epochs=1", "scheduler.initial=10")
    planned = plan(composed(*overrides), composed(*overrides).hydra)
    assert together(train, results, *overrides) == [0, 0]
    assert together(train_apart, results, "folder", *overrides) == [0, 0]
    assert not (tmp_path / "elsewhere").exists()
    (folder,) = (results / "runs").iterdir()
    assert folder.name != planned.folder.path.name, "two ranks make another run than one"
    (folder / "record.parquet").unlink()
    with RunFolder(results, folder.name).claimed(FORM_LINE, {}) as mine:
        assert mine
        assert together(train_apart, results, "folder", *overrides) == [0, 0]
        assert not (folder / "record.parquet").exists()
