import math

import pytest
import torch
from torch import nn

from adaptive_bench.estimators import MicroBatch, PerSample
from adaptive_bench.models import cnn_small
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

MOMENTS = frozenset({Stat.GRAD_NORM, Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE, Stat.MEAN_SAMPLE_SQ_NORM})


def test_chunks_of_one_sample_are_exact(model, loss_fn, make_batch, sample_gradients, sample_moments) -> None:
    batch = make_batch(6)
    seen = MicroBatch(chunks=6).backward(loss_fn, model, batch, MOMENTS)
    assert seen.stats == pytest.approx(sample_moments(sample_gradients(model, batch)), rel=1e-9)
    assert seen.stats == pytest.approx(PerSample(fraction=1).backward(loss_fn, model, batch, MOMENTS).stats, rel=1e-9)
    assert seen.physical_batch == 1


def test_unequal_chunks_follow_the_formula(small_mlp, loss_fn, make_batch, sample_gradients) -> None:
    batch, sizes = make_batch(11), [3, 3, 3, 2]
    gradients = sample_gradients(small_mlp, batch)
    mean = gradients.mean(0)
    spread = sum(len(part) * (part.mean(0) - mean).square().sum().item() for part in gradients.split(sizes))
    seen = MicroBatch(chunks=4).backward(loss_fn, small_mlp, batch, MOMENTS)
    assert seen.stats[Stat.GRAD_VARIANCE] == pytest.approx(spread / 3, rel=1e-9)
    assert seen.stats[Stat.GRAD_SQ_NORM] == pytest.approx(mean.square().sum().item() - spread / 3 / 11, rel=1e-9)
    assert seen.physical_batch == 3


def test_unequal_chunks_are_unbiased() -> None:
    """Gradients of mean (1, 0, 0) and covariance 4 I, so tr(Sigma) = 12 and |G|^2 = 1; the loss is linear in the weights."""
    torch.manual_seed(0)
    model, estimator = nn.Linear(3, 1, bias=False).double(), MicroBatch(chunks=3)
    needs = frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM})
    drawn = {stat: [] for stat in needs}
    for _ in range(1500):
        inputs = 2 * torch.randn(7, 3, dtype=torch.float64) + torch.tensor([1.0, 0, 0])
        seen = estimator.backward(lambda m, b: m(b.inputs).mean(), model, Batch(inputs, inputs), needs)
        for stat, value in seen.stats.items():
            drawn[stat].append(value)
    for stat, truth in ((Stat.GRAD_VARIANCE, 12), (Stat.GRAD_SQ_NORM, 1)):
        values = torch.tensor(drawn[stat])
        assert abs(values.mean() - truth) < 3 * values.std() / math.sqrt(len(values))


def test_two_equal_chunks_are_the_published_pair(small_mlp, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(8)
    gradients = sample_gradients(small_mlp, batch)
    big, small = gradients.mean(0).square().sum(), sum(half.mean(0).square().sum() for half in gradients.split(4)) / 2
    seen = MicroBatch(chunks=2).backward(loss_fn, small_mlp, batch, MOMENTS).stats
    assert seen[Stat.GRAD_SQ_NORM] == pytest.approx(((8 * big - 4 * small) / (8 - 4)).item(), rel=1e-9)
    assert seen[Stat.GRAD_VARIANCE] == pytest.approx(((small - big) / (1 / 4 - 1 / 8)).item(), rel=1e-9)


def test_the_gradient_is_that_of_a_plain_backward_pass(model, loss_fn, make_batch) -> None:
    batch = make_batch(7)
    MicroBatch().backward(loss_fn, model, batch, frozenset())
    plain = [parameter.grad for parameter in model.parameters()]
    MicroBatch(chunks=3).backward(loss_fn, model, batch, MOMENTS)
    for parameter, gradient in zip(model.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-14)


def test_the_loss_is_the_batchs(small_mlp, loss_fn, make_batch) -> None:
    batch = make_batch(7)
    seen = MicroBatch(chunks=3).backward(loss_fn, small_mlp, batch, MOMENTS)
    assert seen.loss == pytest.approx(loss_fn(small_mlp, batch).item(), rel=1e-12)


def test_a_layer_without_a_rule(make_batch, loss_fn, sample_gradients, sample_moments) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(24, 5, batch_first=True), nn.Linear(5, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(x.flatten(2).reshape(len(x), 8, 24))[0][:, -1])

    model, batch = Recurrent().double(), make_batch(5)
    seen = MicroBatch(chunks=5).backward(loss_fn, model, batch, MOMENTS)
    assert seen.stats == pytest.approx(sample_moments(sample_gradients(model, batch)), rel=1e-9)


def test_a_loss_that_is_infinite_in_the_second_chunk_leaves_no_gradient(small_mlp, loss_fn, make_batch) -> None:
    batch = make_batch(4)
    batch.inputs[3] = math.inf
    seen = MicroBatch(chunks=2).backward(loss_fn, small_mlp, batch, MOMENTS)
    assert not math.isfinite(seen.loss)
    assert seen.stats == {}
    assert all(parameter.grad is None for parameter in small_mlp.parameters())


def test_batch_norm_is_warned_about_once() -> None:
    model = cnn_small(inputs=(1, 8, 8), outputs=10, norm="batch")
    with pytest.warns(UserWarning, match="statistics are those of a chunk") as caught:
        MicroBatch().check(model, MOMENTS)
    assert len(caught) == 1
    MicroBatch().check(model, frozenset({Stat.GRAD_NORM}))  # nothing is split for it


@pytest.mark.parametrize("chunks", [1, 0, 2.5, True])
def test_one_chunk_has_no_spread(chunks: int) -> None:
    with pytest.raises(ValueError, match=f"chunks={chunks}"):
        MicroBatch(chunks=chunks)


@pytest.mark.parametrize(("rows", "chunks"), [(10, 4), (10, 3), (9, 4), (7, 2), (2, 4)])
def test_halves_are_halves_however_many_micro_batches_there_are(
    rows, chunks, small_mlp, loss_fn, make_batch, sample_gradients
) -> None:
    batch = make_batch(rows)
    first, second = (part.mean(0) for part in sample_gradients(small_mlp, batch).split(rows - rows // 2))
    seen = MicroBatch(chunks=chunks).backward(loss_fn, small_mlp, batch, frozenset({Stat.HALVES_COSINE}))
    assert seen.stats[Stat.HALVES_COSINE] == pytest.approx(torch.cosine_similarity(first, second, dim=0).item(), rel=1e-6)
