"""Half precision: a scaled backward pass, and what comes of a gradient that overflows."""

import math

import pytest
import torch
from torch import nn

from adaptive_bench.estimators import Auto, GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

ESTIMATORS = {
    "per_sample": lambda: PerSample(fraction=1 / 3),
    "exact": lambda: PerSample(fraction=1),
    "microbatch": lambda: MicroBatch(chunks=3),
    "auto": lambda: Auto(fraction=1 / 3),
    "sheet": lambda: Sheet(microbatches=3),
}
ALL = GradientEstimator.provides - {Stat.MEMORY_USED}  # which is another at every pass


@pytest.fixture(params=ESTIMATORS)
def make(request: pytest.FixtureRequest):
    return ESTIMATORS[request.param]


@pytest.mark.parametrize("needs", [frozenset(), None])
def test_the_scale_leaves_no_trace(make, needs, model, loss_fn, make_batch) -> None:
    needs, batch = make().provides - {Stat.MEMORY_USED} if needs is None else needs, make_batch(6)
    plain = make().backward(loss_fn, model, batch, needs)
    gradients = [parameter.grad for parameter in model.parameters()]
    scaled = make().backward(loss_fn, model, batch, needs, loss_scale=1024)
    assert scaled.loss == plain.loss
    assert scaled.stats == pytest.approx(plain.stats, rel=1e-12)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=0)


def test_a_gradient_that_overflows_is_left_to_be_seen_and_not_measured(make, small_mlp, loss_fn, make_batch) -> None:
    model, estimator = small_mlp.float(), make()
    batch = make_batch(6)
    batch = Batch(100 * batch.inputs.float(), batch.targets)
    estimator.backward(loss_fn, model, batch, ALL)
    seen = estimator.backward(loss_fn, model, batch, estimator.provides, loss_scale=1e38)
    assert math.isfinite(seen.loss)
    assert seen.stats == {}
    assert not all(parameter.grad.isfinite().all() for parameter in model.parameters())
    stats = estimator.backward(loss_fn, model, batch, ALL).stats  # twice the same gradient, as if the other had not been
    assert stats[Stat.EPOCH_GRAD_SQ_NORM] == pytest.approx((2 * 6 * stats[Stat.GRAD_NORM]) ** 2, rel=1e-5)


def test_statistics_under_autocast_are_those_of_single_precision(make, model, loss_fn, make_batch) -> None:
    def autocast(model: nn.Module, batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss_fn(model, batch)

    model, batch = model.float(), make_batch(6)
    batch = Batch(batch.inputs.float(), batch.targets)
    needs = frozenset({Stat.GRAD_NORM, Stat.MEAN_SAMPLE_SQ_NORM, Stat.ENTROPY})
    expected = make().backward(loss_fn, model, batch, needs).stats
    assert make().backward(autocast, model, batch, needs, loss_scale=1024).stats == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
def test_a_scale_is_above_0(scale: float, small_mlp, loss_fn, make_batch) -> None:
    with pytest.raises(ValueError, match="loss_scale="):
        PerSample().backward(loss_fn, small_mlp, make_batch(2), frozenset(), loss_scale=scale)
