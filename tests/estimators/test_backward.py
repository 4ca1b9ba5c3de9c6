"""What holds for every estimator: needs, outcomes, the sum over an epoch, state."""

import io
import math
import subprocess
import sys
from typing import ClassVar, final

import pytest
import torch
from torch import nn

from adaptive_bench.estimators import Auto, GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.execution.clock import Clock
from adaptive_bench.stats import Stat

ESTIMATORS = {
    "per_sample": lambda: PerSample(fraction=1 / 3),
    "exact": lambda: PerSample(fraction=1),
    "microbatch": lambda: MicroBatch(chunks=3),
    "auto": lambda: Auto(fraction=1 / 3),
    "sheet": lambda: Sheet(microbatches=3),
}
ALL = GradientEstimator.provides - {Stat.MEMORY_USED}  # by all of them; that one is another at every pass


@pytest.fixture(params=ESTIMATORS)
def make(request: pytest.FixtureRequest):
    return ESTIMATORS[request.param]


def test_exactly_the_needs_are_measured(make, small_mlp, loss_fn, make_batch) -> None:
    provided = make().provides
    for needs in (frozenset(), *({stat} for stat in provided), provided):
        clock = Clock(torch.device("cpu"))
        seen = make().backward(loss_fn, small_mlp, make_batch(6), needs, clock=clock)
        assert set(seen.stats) == needs
        assert all(math.isfinite(value) for value in seen.stats.values())
        assert (clock.seconds["measure"] > 0) == bool(needs)


def test_what_is_provided() -> None:
    assert {
        Stat.GRAD_NORM, Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE, Stat.MEAN_SAMPLE_SQ_NORM, Stat.EPOCH_GRAD_SQ_NORM,
        Stat.COMPONENT_VARIANCE, Stat.EPOCH_COMPONENT_VARIANCE, Stat.ENTROPY,
    } == ALL == PerSample.provides - {Stat.INNER_PRODUCT_VARIANCE, Stat.MEMORY_USED}  # fmt: skip
    ratio = {Stat.MICROBATCH_RATIO, Stat.MICROBATCHES}
    assert ratio == Sheet.provides - GradientEstimator.provides
    assert {Stat.HALVES_COSINE, Stat.INNER_PRODUCT_VARIANCE} | ratio == MicroBatch.provides - GradientEstimator.provides
    assert Auto.provides == MicroBatch.provides


def test_a_need_is_refused_by_a_backward_pass_too(small_mlp, loss_fn, make_batch) -> None:
    with pytest.raises(ValueError, match="PerSample cannot measure halves_cosine; it provides"):
        PerSample().backward(loss_fn, small_mlp, make_batch(6), frozenset({Stat.HALVES_COSINE}))


def test_gradients_are_set_from_scratch(make, small_mlp, loss_fn, make_batch) -> None:
    make().backward(loss_fn, small_mlp, make_batch(4), ALL)
    first = [parameter.grad.clone() for parameter in small_mlp.parameters()]
    make().backward(loss_fn, small_mlp, make_batch(4), ALL)
    assert all(torch.equal(a, parameter.grad) for a, parameter in zip(first, small_mlp.parameters(), strict=True))


@pytest.mark.parametrize("needs", [frozenset(), ALL])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_comes_back_at_once(make, value, needs, small_mlp, loss_fn, make_batch) -> None:
    def broken(model, batch):
        return loss_fn(model, batch) * value

    loss_fn(small_mlp, make_batch(2)).backward()
    seen = make().backward(broken, small_mlp, make_batch(4), needs)
    assert not math.isfinite(seen.loss)
    assert seen.stats == {}
    assert all(parameter.grad is None for parameter in small_mlp.parameters())


def test_a_need_that_is_not_provided_is_refused_with_both_names(small_mlp) -> None:
    @final
    class Norms(GradientEstimator):
        provides: ClassVar[frozenset[Stat]] = frozenset({Stat.GRAD_NORM})

        def _check_model(self, model, needs, *, multiple_of, ranks):
            raise NotImplementedError

        def _measure(self, work):
            raise NotImplementedError

    Norms().check(small_mlp, frozenset({Stat.GRAD_NORM}))
    with pytest.raises(ValueError, match="Norms cannot measure grad_variance; it provides grad_norm"):
        Norms().check(small_mlp, frozenset({Stat.GRAD_NORM, Stat.GRAD_VARIANCE}))


def steps(estimator, model, loss_fn, batches) -> list[dict[Stat, float]]:
    seen = []
    for batch in batches:
        seen.append(estimator.backward(loss_fn, model, batch, ALL).stats)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.3 * parameter.grad
    return seen


def test_epoch_sum_at_moving_weights_and_sizes(make, model, loss_fn, make_batch, sample_gradients) -> None:
    estimator, total = make(), 0.0
    for seed, size in enumerate((4, 3, 6)):
        batch = make_batch(size, seed=seed)
        total = total + sample_gradients(model, batch).sum(0)
        [stats] = steps(estimator, model, loss_fn, [batch])
        assert stats[Stat.EPOCH_GRAD_SQ_NORM] == pytest.approx(total.square().sum().item(), rel=1e-9)


def test_an_epoch_starts_from_nothing(make, small_mlp, loss_fn, make_batch) -> None:
    estimator = make()
    steps(estimator, small_mlp, loss_fn, [make_batch(4)])
    estimator.start_epoch()
    stats = estimator.backward(loss_fn, small_mlp, make_batch(5), ALL).stats
    assert stats[Stat.EPOCH_GRAD_SQ_NORM] == pytest.approx(25 * stats[Stat.GRAD_NORM] ** 2, rel=1e-9)


def test_a_resumed_estimator_measures_the_same_numbers(make, small_mlp, loss_fn, make_batch) -> None:
    batches = [make_batch(size, seed=size) for size in (6, 9, 7, 8)]
    estimator, file = make(), io.BytesIO()
    steps(estimator, small_mlp, loss_fn, batches[:2])
    torch.save({"estimator": estimator.state_dict(), "model": small_mlp.state_dict()}, file)
    expected = steps(estimator, small_mlp, loss_fn, batches[2:])
    file.seek(0)
    state, resumed = torch.load(file, weights_only=True), make()
    resumed.load_state_dict(state["estimator"])
    small_mlp.load_state_dict(state["model"])
    assert steps(resumed, small_mlp, loss_fn, batches[2:]) == expected


def test_the_state_of_another_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="does not belong to PerSample"):
        PerSample().load_state_dict(MicroBatch().state_dict())


def test_the_library_needs_no_configuration_logging_or_tables() -> None:
    check = "import sys, adaptive_bench.estimators; print(*{'hydra', 'wandb', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_plain_models_are_measured_without_a_check(loss_fn, make_batch) -> None:
    """A loop of one's own may leave out `check`: a model that cannot be measured is still refused."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.PReLU()).double()
    with pytest.raises(ValueError, match=r"no layer rule for 2.weight"):
        PerSample().backward(loss_fn, model, make_batch(3), ALL)
