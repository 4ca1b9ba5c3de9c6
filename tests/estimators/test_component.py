import pytest
import torch
from torch import nn

from adaptive_bench.estimators import MicroBatch, PerSample
from adaptive_bench.estimators.vector import component_variance
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

NEEDS = frozenset({Stat.COMPONENT_VARIANCE, Stat.EPOCH_COMPONENT_VARIANCE})


@pytest.mark.parametrize("estimator", [PerSample(), MicroBatch()])
def test_the_variance_of_the_components(estimator, model, loss_fn, make_batch, sample_gradients) -> None:
    total = 0.0
    estimator.start_epoch()
    for seed, size in enumerate((4, 3)):
        batch = make_batch(size, seed=seed)
        gradients = sample_gradients(model, batch)
        total = total + gradients.sum(0)
        stats = estimator.backward(loss_fn, model, batch, NEEDS).stats
        assert stats[Stat.COMPONENT_VARIANCE] == pytest.approx(gradients.mean(0).var(correction=0).item(), rel=1e-9)
        assert stats[Stat.EPOCH_COMPONENT_VARIANCE] == pytest.approx(total.var(correction=0).item(), rel=1e-9)


def test_equal_components_do_not_vary() -> None:
    """Not below 0 either, where the squared norm was rounded down."""
    vector = torch.full((7,), 0.1, dtype=torch.float64)
    assert component_variance([vector], sq_norm=0.07 * (1 - 1e-15)) == 0


def test_frozen_parameters_are_no_components(loss_fn, make_batch) -> None:
    def linear() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 10)).double()

    frozen, batch = linear(), make_batch(4)
    frozen[1].bias.requires_grad_(False)
    seen = PerSample().backward(loss_fn, frozen, batch, {Stat.COMPONENT_VARIANCE}).stats
    PerSample().backward(loss_fn, whole := linear(), Batch(batch.inputs, batch.targets), frozenset())
    assert seen[Stat.COMPONENT_VARIANCE] == pytest.approx(whole[1].weight.grad.var(correction=0).item(), rel=1e-9)
