"""What only micro-batches show, against their gradients one by one."""

import math
import statistics

import pytest
import torch
from torch import Tensor, nn

from adaptive_bench.estimators import MicroBatch
from adaptive_bench.estimators.moments import SPREAD
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch


def measured(model: nn.Module, loss_fn, batch: Batch, *, chunks: int, needs=SPREAD) -> dict[Stat, float]:
    return MicroBatch(chunks=chunks).backward(loss_fn, model, batch, needs).stats


@pytest.mark.parametrize(("samples", "sizes"), [(8, [2, 2, 2, 2]), (9, [5, 2, 2]), (11, [3, 3, 3, 2]), (7, [2, 2, 1, 1, 1])])
def test_direct_computation(samples: int, sizes: list[int], model, loss_fn, make_batch, sample_gradients) -> None:
    batch, count = make_batch(samples), len(sizes)
    gradients = sample_gradients(model, batch)
    mean, chunks = gradients.mean(0), [part.mean(0) for part in gradients.split(sizes)]
    first = samples - samples // 2  # whatever the chunks are
    halves = gradients[:first].mean(0), gradients[first:].mean(0)
    sq_norm = mean.square().sum()
    spread = sum(size * (h - mean).square().sum() for size, h in zip(sizes, chunks, strict=True))
    products = sum(size * (h @ mean - sq_norm) ** 2 for size, h in zip(sizes, chunks, strict=True))
    assert measured(model, loss_fn, batch, chunks=count) == pytest.approx(
        {
            Stat.MICROBATCHES: count,
            Stat.MICROBATCH_RATIO: (spread / samples / sq_norm).item(),
            Stat.HALVES_COSINE: torch.cosine_similarity(*halves, dim=0).item(),
            Stat.INNER_PRODUCT_VARIANCE: (products / (count - 1)).item(),
        },
        rel=1e-9,
    )
    for parameter, part in zip(model.parameters(), mean.split([p.numel() for p in model.parameters()]), strict=True):
        torch.testing.assert_close(parameter.grad.flatten(), part, rtol=1e-9, atol=1e-14)


def test_equal_chunks_give_the_plain_ratio(small_mlp, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(12)
    gradients = sample_gradients(small_mlp, batch)
    mean = gradients.mean(0)
    distances = [(part.mean(0) - mean).square().sum().item() for part in gradients.split(3)]
    ratio = measured(small_mlp, loss_fn, batch, chunks=4)[Stat.MICROBATCH_RATIO]
    assert ratio == pytest.approx(statistics.fmean(distances) / mean.square().sum().item(), rel=1e-9)


def test_chunks_of_one_sample_give_the_variance_of_the_inner_products(small_mlp, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(6)
    gradients = sample_gradients(small_mlp, batch)
    seen = measured(small_mlp, loss_fn, batch, chunks=6)[Stat.INNER_PRODUCT_VARIANCE]
    assert seen == pytest.approx((gradients @ gradients.mean(0)).var().item(), rel=1e-9)


def test_gradients_are_kept_only_for_inner_products(small_mlp, loss_fn, make_batch) -> None:
    """Asked for alone or with the others, each comes out the same."""
    batch, together = make_batch(8), measured(small_mlp, loss_fn, make_batch(8), chunks=4)
    for stat in SPREAD:
        assert measured(small_mlp, loss_fn, batch, chunks=4, needs={stat}) == pytest.approx({stat: together[stat]}, rel=1e-12)


def test_one_sample_has_no_spread(small_mlp, loss_fn, make_batch) -> None:
    stats = measured(small_mlp, loss_fn, make_batch(1), chunks=4)
    assert stats.pop(Stat.MICROBATCHES) == 1
    assert all(math.isnan(value) for value in stats.values())


def linear(model: nn.Module, batch: Batch) -> Tensor:
    """The gradient of a sample is its input."""
    return model(batch.inputs).mean()


def test_halves_that_cancel_have_no_ratio() -> None:
    """A ratio is no number at g = 0, and above k - 1 near it: only the quotient of the expectations is bounded."""
    model = nn.Linear(2, 1, bias=False).double()
    inputs = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    seen = measured(model, linear, Batch(inputs, inputs), chunks=2)
    assert math.isnan(seen[Stat.MICROBATCH_RATIO])
    assert seen[Stat.HALVES_COSINE] == pytest.approx(-1)
    inputs[0, 0] = 1.5
    assert measured(model, linear, Batch(inputs, inputs), chunks=2)[Stat.MICROBATCH_RATIO] > 1


def test_a_parameter_that_one_half_does_not_use() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.seldom = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.used + (x * self.seldom if x.sum() > 0 else 0)

    inputs = torch.tensor([[-2.0], [1.0]])  # gradients (-2, 0) and (1, 1)
    model = Gated()
    seen = measured(model, linear, Batch(inputs, inputs), chunks=2)
    assert seen[Stat.HALVES_COSINE] == pytest.approx(-1 / math.sqrt(2))
    assert [model.used.grad, model.seldom.grad] == [-0.5, 0.5]


@pytest.mark.parametrize("noise_scale", [16.0, 64.0, 256.0])
def test_the_expected_cosine_of_two_halves(noise_scale: float) -> None:
    """About 1 / (1 + 2 B_simple / B): both halves have |G|^2 + 2 tr(Sigma) / B as expected squared norm and |G|^2 as product."""
    generator, dimensions, batch = torch.Generator().manual_seed(0), 200, 64
    model = nn.Linear(dimensions, 1, bias=False)
    mean = torch.zeros(dimensions)
    mean[0] = 1.0
    values = []
    for _ in range(300):
        inputs = mean + math.sqrt(noise_scale / dimensions) * torch.randn(batch, dimensions, generator=generator)
        values.append(measured(model, linear, Batch(inputs, inputs), chunks=2)[Stat.HALVES_COSINE])
    assert statistics.fmean(values) == pytest.approx(1 / (1 + 2 * noise_scale / batch), abs=0.02)
