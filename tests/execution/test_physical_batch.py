"""Any batch size fits: what goes through the model at once may be smaller than the batch, and the update is the same."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from adaptive_bench.analysis import notes, read, table
from adaptive_bench.datasets.classification import Classification
from adaptive_bench.datasets.text import LanguageModelling
from adaptive_bench.estimators import Auto, GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.models import cnn_small
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch
from adaptive_bench.training.trainer import Trainer
from tests.conftest import composed
from tests.estimators.conftest import MODELS, mean_cross_entropy, random_batch

ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "per_sample": lambda: PerSample(fraction=1 / 6),
    "exact": lambda: PerSample(fraction=1),
    "microbatch": lambda: MicroBatch(chunks=3),
    "auto": lambda: Auto(fraction=1 / 3),
    "sheet": lambda: Sheet(microbatches=3),
}
LARGE = ("dataset.train_size=1024", "scheduler.initial=1024", "model.norm=group")
GROWING = ("scheduler=exponential", "scheduler.factor=2", "scheduler.interval=0.5", "epochs=3", "batch_size.maximum=80")
TEXT = (
    "dataset=markov_text", "model=lstm_small", "dataset.train_size=2001", "dataset.validation_size=500", "dataset.test_size=500",
    "scheduler.initial=10", "block_scheduler.initial=20",
)  # fmt: skip


class Memory:
    """Holds so many rows of a task; more than that and the forward pass ends in torch's error, when it has changed all it can."""

    def __init__(self, rows: int, monkeypatch: pytest.MonkeyPatch, *, task: type = Classification) -> None:
        self.errors, plain = 0, task.loss

        def loss(task, model: nn.Module, batch: Batch) -> torch.Tensor:
            value = plain(task, model, batch)
            if len(batch) > rows:
                self.errors += 1
                raise torch.OutOfMemoryError(f"{len(batch)} rows are too many")
            return value

        monkeypatch.setattr(task, "loss", loss)


def run(results: Path, *overrides: str) -> Trainer:
    trainer = built(results, *overrides)
    trainer.run()
    return trainer


def built(results: Path, *overrides: str) -> Trainer:
    return experiment(composed(f"results={results}", *overrides))


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in trainer.model.state_dict().values()])


def column(trainer: Trainer, name: str) -> list[float]:
    return [row[name] for row in trainer.steps]


def test_a_batch_that_memory_does_not_hold_runs_as_chunks(tmp_path, monkeypatch) -> None:
    whole = run(tmp_path / "whole", *LARGE)
    memory = Memory(300, monkeypatch)
    split = run(tmp_path / "split", *LARGE)
    assert memory.errors == 2  # 1,024 and 512 rows, in the warm-up, and never again
    assert column(split, "batch_size") == column(whole, "batch_size") == [1024, 1024]
    assert column(split, "physical_batch") == [256, 256]
    assert column(whole, "physical_batch") == [1024, 1024]
    assert column(split, "lr") == column(whole, "lr")
    torch.testing.assert_close(weights(split), weights(whole), rtol=0, atol=1e-6)
    assert not torch.equal(weights(built(tmp_path / "start", *LARGE)), weights(whole))


def test_a_batch_above_max_physical_batch_is_split_evenly(tmp_path) -> None:
    whole, split = (run(tmp_path, *LARGE, f"max_physical_batch={most}") for most in ("null", 200))
    assert column(split, "batch_size") == [1024, 1024]
    assert column(split, "physical_batch") == [171, 171]  # 6 chunks, none of them of 24 rows
    torch.testing.assert_close(weights(split), weights(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "first", "overrides"),
    [
        (Classification, 25, ("scheduler.initial=25", "lr_rule=adascale", "optimizer.lr=0.02", "dataset.crop=1")),
        (LanguageModelling, 10, (*TEXT, "model.dropout=0.3")),
    ],
    ids=["BatchNorm and drawn rows", "dropout and a carried state"],
)
def test_a_step_made_again_is_the_step_that_fits(task, first, overrides, tmp_path, monkeypatch) -> None:
    """Memory that runs out when the batch has grown leaves the run, bit for bit, as a limit that was set from the start."""
    expected = run(tmp_path / "set", *GROWING, *overrides, f"max_physical_batch={first}")
    memory = Memory(2 * first - 1, monkeypatch, task=task)
    found = run(tmp_path / "found", *GROWING, *overrides)
    assert memory.errors == 1
    assert column(found, "batch_size") == column(expected, "batch_size")
    assert max(column(found, "batch_size")) > first
    assert max(column(found, "physical_batch")) <= first
    assert torch.equal(weights(found), weights(expected))
    assert column(found, "loss") == column(expected, "loss")


def test_the_state_of_a_recurrent_network_is_carried_in_chunks(tmp_path) -> None:
    whole, split = (run(tmp_path, *TEXT, "epochs=1", f"max_physical_batch={most}") for most in ("null", 4))
    assert set(column(split, "physical_batch")) == {4}  # of 10 rows
    torch.testing.assert_close(weights(split), weights(whole), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_chunks_change_neither_gradient_nor_statistics(name: str, most: int, scale: float) -> None:
    torch.manual_seed(0)
    model, batch = MODELS["cnn_small"]().double(), random_batch(12)
    needs = ESTIMATORS[name]().provides - {Stat.MEMORY_USED}
    whole = ESTIMATORS[name]().backward(mean_cross_entropy, model, batch, needs)
    gradients = [parameter.grad for parameter in model.parameters()]
    split = ESTIMATORS[name]().backward(
        mean_cross_entropy, model, batch, needs, loss_scale=scale, chunks=PhysicalBatch(maximum=most)
    )
    assert split.physical_batch <= most
    assert split.loss == pytest.approx(whole.loss, rel=1e-12)
    assert split.stats == pytest.approx(whole.stats, rel=1e-9)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)


def test_micro_batches_stay_the_same_number_whatever_memory_holds() -> None:
    model, batch = MODELS["mlp"]().double(), random_batch(12)
    needs = frozenset({Stat.MICROBATCHES, Stat.MICROBATCH_RATIO})
    whole, split = (
        Sheet(microbatches=3).backward(mean_cross_entropy, model, batch, needs, chunks=PhysicalBatch(maximum=most))
        for most in (None, 3)
    )
    assert (whole.physical_batch, split.physical_batch) == (4, 2)
    assert split.stats[Stat.MICROBATCHES] == 3
    assert split.stats == pytest.approx(whole.stats, rel=1e-9)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("measured", [False, True])
def test_gradients_lie_in_memory_as_their_parameters_do(name: str, measured: bool) -> None:
    """A fused optimiser on the CPU reads both in the order of memory, and does not look whether that is the same one."""
    model = cnn_small(inputs=(3, 8, 8), outputs=10, norm="group").to(memory_format=torch.channels_last)
    batch = random_batch(12)
    batch = Batch(batch.inputs.float().to(memory_format=torch.channels_last), batch.targets)
    for precision in (torch.float32, torch.bfloat16):

        def loss(model: nn.Module, batch: Batch, dtype=precision) -> torch.Tensor:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
                return mean_cross_entropy(model, batch)

        estimator = ESTIMATORS[name]()
        estimator.backward(
            loss,
            model,
            batch,
            estimator.provides - {Stat.MEMORY_USED} if measured else frozenset(),
            chunks=PhysicalBatch(maximum=3),
        )
        assert any(parameter.stride() != parameter.contiguous().stride() for parameter in model.parameters())
        assert [parameter.stride() for parameter in model.parameters()] == [each.grad.stride() for each in model.parameters()]


def test_a_loss_that_is_infinite_in_a_later_chunk_leaves_no_gradient() -> None:
    model, batch = MODELS["mlp"]().double(), random_batch(6)
    batch.inputs[5] = math.inf
    for estimator in (PerSample(), MicroBatch(chunks=2)):
        seen = estimator.backward(
            mean_cross_entropy, model, batch, estimator.provides - {Stat.MEMORY_USED}, chunks=PhysicalBatch(maximum=2)
        )
        assert not math.isfinite(seen.loss)
        assert seen.stats == {}
        assert all(parameter.grad is None for parameter in model.parameters())


def test_what_memory_holds_is_part_of_the_checkpoint(tmp_path, monkeypatch) -> None:
    memory = Memory(300, monkeypatch)
    first = built(tmp_path, *LARGE, "epochs=3", "checkpoint_every=1")
    first.step()
    first.save()
    errors = memory.errors
    second = built(tmp_path, *LARGE, "epochs=3")
    second.run()
    assert memory.errors == errors == 2
    assert column(second, "physical_batch") == [256, 256, 256]


def test_running_out_of_memory_costs_training_time(tmp_path, monkeypatch) -> None:
    plain = Classification.loss

    def loss(task, model: nn.Module, batch: Batch) -> torch.Tensor:
        if len(batch) > 300:
            time.sleep(0.5)
            raise torch.OutOfMemoryError
        return plain(task, model, batch)

    monkeypatch.setattr(Classification, "loss", loss)
    trainer = built(tmp_path, *LARGE, "scheduler=divebatch", "estimator=microbatch", "estimator.chunks=2")
    trainer.step()
    assert trainer.clock.seconds["train"] >= 0.5
    assert trainer.clock.seconds["measure"] < 0.5


def test_a_row_that_does_not_fit_is_a_clear_error(tmp_path, monkeypatch) -> None:
    Memory(0, monkeypatch)
    with pytest.raises(ValueError, match="a single row does not fit into the device's memory"):
        run(tmp_path, "scheduler.initial=10")


def test_the_record_and_the_table_say_what_was_split(tmp_path, trained) -> None:
    whole = ("model.norm=group", "scheduler.initial=100")
    for seed in (0, 1):
        trained(*whole, f"seed={seed}", "max_physical_batch=40")
    (found,) = table(read(tmp_path))
    assert "fixed (at most 34 rows, 100 % of the steps)" in " ".join(notes(found))
    trained(*whole)
    records = pd.concat([pd.read_parquet(path) for path in tmp_path.glob("runs/*/record.parquet")])
    assert sorted(zip(records["physical_batch"], records["split_steps"], strict=True)) == [(34, 4), (34, 4), (100, 0)]
    assert sum("Batches went through the model in pieces" in " ".join(notes(each)) for each in table(read(tmp_path))) == 1


@given(first=st.integers(0, 300), rows=st.integers(0, 5000), most=st.none() | st.integers(1, 600))
def test_chunks_are_the_fewest_that_fit_and_nearly_equal(first: int, rows: int, most: int | None) -> None:
    spans = PhysicalBatch(maximum=most).spans(first, first + rows)
    sizes = [stop - start for start, stop in spans]
    assert [start for start, _ in spans] + [first + rows] == [first] + [stop for _, stop in spans]
    assert len(sizes) == (math.ceil(rows / most) if most else min(rows, 1))
    assert max(sizes, default=0) <= (most or rows)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
