import pytest
from torch import nn

from adaptive_bench.estimators import Auto, MicroBatch, PerSample, coverage
from adaptive_bench.estimators.auto import LEAST
from adaptive_bench.stats import Stat

MOMENTS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})


def test_covered_models_are_measured_by_sample(model, loss_fn, make_batch) -> None:
    auto, batch = Auto(fraction=0.5, seed=3), make_batch(6)
    auto.check(model, MOMENTS)
    assert auto.choice.startswith("per_sample")
    expected = PerSample(least=LEAST, fraction=0.5, seed=3).backward(loss_fn, model, batch, MOMENTS)
    assert auto.backward(loss_fn, model, batch, MOMENTS).stats == expected.stats


def test_other_models_are_measured_in_chunks(loss_fn, make_batch) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.PReLU()).double()
    auto, batch = Auto(chunks=3), make_batch(6)
    auto.check(model, MOMENTS)
    assert auto.choice.startswith("microbatch: no layer rule for 2.weight (99.9% of the trainable parameters are covered)")
    expected = MicroBatch(chunks=3).backward(loss_fn, model, batch, MOMENTS)
    assert auto.backward(loss_fn, model, batch, MOMENTS).stats == expected.stats


def test_needs_that_only_micro_batches_give(small_mlp, loss_fn, make_batch) -> None:
    auto, batch, needs = Auto(chunks=3), make_batch(6), MOMENTS | {Stat.HALVES_COSINE, Stat.MICROBATCH_RATIO}
    auto.check(small_mlp, needs)
    assert auto.choice == "microbatch: only micro-batches give halves_cosine, microbatch_ratio"
    expected = MicroBatch(chunks=3).backward(loss_fn, small_mlp, batch, needs)
    assert auto.backward(loss_fn, small_mlp, batch, needs).stats == expected.stats


def test_nothing_is_chosen_where_no_moment_is_asked_for() -> None:
    auto = Auto()
    auto.check(nn.LSTM(3, 3), frozenset({Stat.GRAD_NORM}))
    assert auto.choice.startswith("none")


@pytest.mark.parametrize(
    ("module", "share"),
    [
        (nn.Linear(3, 4), 1),
        (nn.LSTM(3, 4), 0),
        (nn.Identity(), 1),
        (nn.Conv2d(1, 1, 3, padding_mode="reflect"), 0),
        (nn.Embedding(3, 4, sparse=True), 0),
        (nn.Embedding(3, 4, max_norm=1.0), 0),
        (nn.Embedding(3, 4, scale_grad_by_freq=True), 0),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 4, bias=False)), 0),
        (nn.MultiheadAttention(4, 2), 0),
        (nn.Sequential(nn.Linear(3, 4), nn.PReLU(16)), 0.5),
        (nn.Sequential(nn.Linear(3, 4), nn.PReLU().requires_grad_(False)), 1),
    ],
)
def test_coverage(module: nn.Module, share: float) -> None:
    assert coverage(module) == share


def test_no_fewer_than_32_rows_are_measured_unless_the_batch_has_fewer(make_batch, small_mlp):
    measured = PerSample(fraction=1 / 8, least=LEAST)
    for size, rows in ((16, None), (33, 32), (512, 64)):
        drawn = measured._draw(make_batch(size))
        assert (None if drawn is None else len(drawn)) == rows
