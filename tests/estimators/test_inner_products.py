"""The variance over samples of <g_i, g>, exact, against autograd on one sample at a time in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from adaptive_bench.estimators import Auto, MicroBatch, PerSample
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.models import mlp, transformer
from adaptive_bench.schedulers.memory import MemoryControl
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

NEEDS = frozenset({Stat.INNER_PRODUCT_VARIANCE, Stat.GRAD_VARIANCE})
ONLY = frozenset({Stat.INNER_PRODUCT_VARIANCE})


def expected(gradients: torch.Tensor) -> float:
    return (gradients @ gradients.mean(0)).var().item()


def test_all_rows_at_once(model, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(7)
    seen = PerSample().backward(loss_fn, model, batch, NEEDS)
    assert seen.stats[Stat.INNER_PRODUCT_VARIANCE] == pytest.approx(expected(sample_gradients(model, batch)), rel=1e-9)


def test_chunks_and_a_loss_scale_change_nothing(model, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(7)
    seen = PerSample().backward(loss_fn, model, batch, ONLY, chunks=PhysicalBatch(maximum=3), loss_scale=1024.0)
    assert seen.stats[Stat.INNER_PRODUCT_VARIANCE] == pytest.approx(expected(sample_gradients(model, batch)), rel=1e-9)


def test_measuring_leaves_gradients_modules_and_random_numbers_alone(model, loss_fn, make_batch) -> None:
    batch, before = make_batch(5), torch.get_rng_state()
    PerSample().backward(loss_fn, model, batch, frozenset())
    plain = [parameter.grad for parameter in model.parameters()]
    PerSample().backward(loss_fn, model, batch, ONLY)
    assert all(torch.equal(a, parameter.grad) for a, parameter in zip(plain, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_rows_of_text_through_attention() -> None:
    torch.manual_seed(0)
    model = transformer(inputs=(), outputs=11, width=8, heads=2, layers=2, tied=False).double()
    tokens = torch.randint(11, (5, 7))

    def loss_fn(model: nn.Module, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(model(batch.inputs)[0].flatten(0, 1), batch.targets.flatten())

    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    gradients = []
    for row in range(5):
        parts = torch.autograd.grad(loss_fn(model, batch.rows(row, row + 1)), list(model.parameters()))
        gradients.append(torch.cat([part.flatten() for part in parts]))
    seen = PerSample().backward(loss_fn, model, batch, ONLY)
    assert seen.stats[Stat.INNER_PRODUCT_VARIANCE] == pytest.approx(expected(torch.stack(gradients)), rel=1e-9)


def test_a_limit_of_memory_counts_the_positions_of_a_row() -> None:
    torch.manual_seed(0)
    model = transformer(inputs=(), outputs=11, width=8, heads=2, layers=1, tied=False).double()
    tokens, rows = torch.randint(11, (6, 7)), list[int]()

    def loss_fn(model: nn.Module, batch: Batch) -> torch.Tensor:
        rows.append(len(batch))
        return F.cross_entropy(model(batch.inputs)[0].flatten(0, 1), batch.targets.flatten())

    chunks = PhysicalBatch(memory=MemoryControl())
    chunks.memory.limit = 12  # two rows of six
    PerSample().backward(loss_fn, model, Batch(tokens[:, :-1], tokens[:, 1:]), ONLY, chunks=chunks)
    assert rows == [2] * 6  # backward, and once more along the gradient


def test_one_row_has_no_variance(small_mlp, loss_fn, make_batch) -> None:
    seen = PerSample().backward(loss_fn, small_mlp, make_batch(1), ONLY)
    assert math.isnan(seen.stats[Stat.INNER_PRODUCT_VARIANCE])


@pytest.mark.filterwarnings("ignore:MicroBatch on a model with BatchNorm")
@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout(0.1)])
def test_models_that_are_another_function_in_every_pass_are_seen_in_micro_batches(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"1 \(\w+\) gives a row other values in every pass; choose estimator=microbatch"):
        PerSample().check(model, ONLY)
    PerSample().check(model, frozenset({Stat.GRAD_VARIANCE}))
    auto = Auto()
    auto.check(model, ONLY)
    assert auto.choice.startswith("microbatch: 1 (")
    model[1] = nn.Dropout(0.0)
    PerSample().check(model, ONLY)


def test_on_pure_noise_it_is_far_steadier_than_four_micro_batches(loss_fn, make_batch) -> None:
    """What made the test grow at every step: one variance from four numbers."""
    torch.manual_seed(0)
    model = mlp(inputs=(3, 8, 8), outputs=10, hidden=(12,)).double()

    def spread(estimator: PerSample | MicroBatch) -> float:
        draws = (estimator.backward(loss_fn, model, make_batch(32, seed=seed), ONLY) for seed in range(60))
        found = torch.tensor([draw.stats[Stat.INNER_PRODUCT_VARIANCE] for draw in draws])
        return (found.std() / found.mean()).item()

    assert spread(PerSample()) < 0.6 * spread(MicroBatch(chunks=4))
