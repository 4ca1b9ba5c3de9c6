"""Per-sample gradient norms against Opacus and BackPACK, and against what others publish on them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators import MicroBatch, PerSample
from adaptive_bench.estimators.coverage import covered_modules
from adaptive_bench.estimators.layers import mean_sample_sq_norm
from adaptive_bench.models import cnn_small, mlp, resnet8
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

# both hook a first layer whose input needs no gradient
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed:UserWarning")
SHAPE = {"inputs": (3, 8, 8), "outputs": 10}
# BackPACK has no GroupNorm and sees modules only, so no residual addition
PLAIN = {"mlp": lambda: mlp(**SHAPE, hidden=(12, 9)), "cnn_small": lambda: cnn_small(**SHAPE, width=4, norm="none")}
NETS = PLAIN | {"grouped cnn_small": lambda: cnn_small(**SHAPE, norm="group"), "resnet8": lambda: resnet8(**SHAPE, norm="group")}
ROWS = 12


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.inputs), batch.targets)


def made(make: Callable[[], nn.Module]) -> tuple[nn.Module, Batch]:
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    inputs = torch.randn(ROWS, 3, 8, 8, generator=generator)
    return make(), Batch(inputs, torch.randint(10, (ROWS,), generator=generator))


def ours(model: nn.Module, batch: Batch) -> Tensor:
    """(B,): |g_i|^2 by the layer rules, whose sum is what the estimator goes by."""
    norms = torch.zeros(len(batch))

    def keep(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        def add(gradient: Tensor) -> None:
            norms.add_(mean_sample_sq_norm(module, args[0].detach(), gradient))

        output.register_hook(add)

    handles = [module.register_forward_hook(keep) for module in covered_modules(model)]
    loss(model, batch).backward()
    for handle in handles:
        handle.remove()
    return len(batch) ** 2 * norms  # a row's share of the mean loss's gradient is g_i / B


def assert_equal_norms(make: Callable[[], nn.Module], theirs: Tensor) -> None:
    model, batch = made(make)
    torch.testing.assert_close(ours(model, batch), theirs, rtol=1e-5, atol=0)
    seen = PerSample(fraction=1).backward(loss, model, batch, {Stat.MEAN_SAMPLE_SQ_NORM}).stats
    assert seen[Stat.MEAN_SAMPLE_SQ_NORM] == pytest.approx(theirs.mean().item(), rel=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_opacus_finds_the_same_norms(net: str) -> None:
    reason = "compares with Opacus: pip install 'adaptive_bench[dev]'"
    grad_sample = pytest.importorskip("opacus.grad_sample", reason=reason)
    model, batch = made(NETS[net])
    model = grad_sample.GradSampleModule(model, loss_reduction="mean")
    loss(model, batch).backward()  # of the mean loss; Opacus multiplies its parts by B itself
    assert_equal_norms(NETS[net], sum(part.grad_sample.flatten(1).square().sum(1) for part in model.parameters()))


@pytest.mark.parametrize("net", PLAIN)
def test_backpack_finds_the_same_norms(net: str) -> None:
    backpack = pytest.importorskip("backpack", reason="compares with BackPACK: pip install 'adaptive_bench[dev]'")
    from backpack.extensions import BatchL2Grad

    model, batch = made(PLAIN[net])
    model, cross_entropy = backpack.extend(model), backpack.extend(nn.CrossEntropyLoss())
    value = cross_entropy(model(batch.inputs), batch.targets)
    with backpack.backpack(BatchL2Grad()):
        value.backward()
    assert_equal_norms(PLAIN[net], ROWS**2 * sum(part.batch_l2 for part in model.parameters()))


def test_diversity_is_one_plus_the_noise_scale(model, loss_fn, make_batch, sample_gradients) -> None:
    """n Delta = 1 + B_simple for Delta = sum_i |g_i|^2 / |sum_i g_i|^2 over all n samples (Yin et al. 2018, arXiv 1706.05699).

    B_simple = tr(Sigma) / |G|^2 is that of the n samples themselves, whose covariance has the factor 1/n.
    """
    data, samples = make_batch(24), 24
    gradients = sample_gradients(model, data)
    noise_scale = gradients.var(0, correction=0).sum() / gradients.mean(0).square().sum()
    needs = frozenset({Stat.MEAN_SAMPLE_SQ_NORM, Stat.EPOCH_GRAD_SQ_NORM})
    estimator, sum_of_sq_norms = PerSample(fraction=1), 0.0
    for start, stop in ((0, 10), (10, 17), (17, 24)):
        stats = estimator.backward(loss_fn, model, data.rows(start, stop), needs).stats
        sum_of_sq_norms += (stop - start) * stats[Stat.MEAN_SAMPLE_SQ_NORM]
    diversity = sum_of_sq_norms / stats[Stat.EPOCH_GRAD_SQ_NORM]
    assert samples * diversity == pytest.approx(1 + noise_scale.item(), rel=1e-9)


@pytest.mark.parametrize("pieces", [2, 3, 6, 12])
def test_the_pair_of_moments_is_the_published_one(pieces: int, model, loss_fn, make_batch, sample_gradients) -> None:
    """From gradients at two batch sizes: McCandlish et al. (2018, arXiv 1812.06162), appendix A.1."""
    big, small, batch = 12, 12 // pieces, make_batch(12)
    gradients = sample_gradients(model, batch)
    sq_norm_big = gradients.mean(0).square().sum().item()
    sq_norm_small = math.fsum(part.mean(0).square().sum().item() for part in gradients.split(small)) / pieces
    expected = {
        Stat.GRAD_SQ_NORM: (big * sq_norm_big - small * sq_norm_small) / (big - small),
        Stat.GRAD_VARIANCE: (sq_norm_small - sq_norm_big) / (1 / small - 1 / big),
    }
    assert MicroBatch(chunks=pieces).backward(loss_fn, model, batch, set(expected)).stats == pytest.approx(expected, rel=1e-9)
    if pieces == big:
        assert PerSample(fraction=1).backward(loss_fn, model, batch, set(expected)).stats == pytest.approx(expected, rel=1e-9)
