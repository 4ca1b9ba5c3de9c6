"""Sizes computed by hand from B = c * lr * tr(Sigma) / F."""

import math

import pytest

from adaptive_bench.schedulers import CABS, BatchShape, Observation, Position, Stat


def see(scheduler: CABS, *, variance: float | None, loss: float, lr: float = 0.1, until: int = 100, samples: int = 100) -> float:
    position = Position(until, 100_000, 1000)
    stats = {} if variance is None else {Stat.GRAD_VARIANCE: variance}
    scheduler.observe(Observation(position=position, shape=BatchShape(samples), lr=lr, loss=loss, stats=stats))
    return scheduler.propose(position)


def test_the_first_measured_step_counts_in_full():
    assert CABS(initial=77).propose(Position(0, 1000, 1000)) == 77
    assert see(CABS(), variance=3000, loss=2.0) == pytest.approx(150)  # 0.1 * 3000 / 2
    assert see(CABS(c=0.5), variance=3000, loss=2.0, lr=0.2) == pytest.approx(150)


def test_both_moments_are_averaged_and_divided_then():
    # steps of one half-life: tr(Sigma) = (3000 / 4 + 600 / 2) / (3 / 4) = 1400, F = (2 / 4 + 1 / 2) / (3 / 4) = 4 / 3
    scheduler = CABS(half_life=100)
    see(scheduler, variance=3000, loss=2.0)
    assert see(scheduler, variance=600, loss=1.0, until=200) == pytest.approx(105)
    assert see(scheduler, variance=None, loss=4 / 3, until=300, lr=0.2) == pytest.approx(
        210
    )  # the learning rate of the last step
    assert scheduler.signals() == {"grad_variance_average": pytest.approx(1400), "loss_average": pytest.approx(4 / 3)}


def test_the_default_half_life_is_the_authors_at_batch_128():
    # 0.95 a step; 1,728 samples are 13.5 steps of 128, and 0.95^13.5 = 0.5003
    scheduler = CABS()
    for step, variance in enumerate([1000, 0], start=1):
        see(scheduler, variance=variance, loss=1.0, until=128 * step, samples=128)
    assert scheduler.variance.value == pytest.approx(1000 * 0.95 / 1.95, rel=1e-3)


def test_a_loss_that_is_not_above_zero_asks_for_the_maximum():
    assert see(CABS(), variance=3000, loss=0.0) == math.inf
    assert see(CABS(), variance=3000, loss=-1.0) == math.inf


@pytest.mark.parametrize(("variance", "lr"), [(0, 0.1), (3000, 0), (0.1, 0.1)])
def test_wishes_stay_positive(variance, lr):
    assert see(CABS(), variance=variance, loss=2.0, lr=lr) == 1


def test_steps_without_a_variance_leave_the_initial_size():
    assert see(CABS(initial=77), variance=None, loss=2.0) == 77
    assert see(CABS(initial=77), variance=math.nan, loss=2.0) == 77  # a batch of one
    assert math.isnan(CABS().signals()["grad_variance_average"])


def test_it_is_for_the_batch_size_only():
    assert CABS.not_for_blocks


@pytest.mark.parametrize(
    ("settings", "says"), [({"c": 0}, "c=0"), ({"half_life": 0}, "half_life=0"), ({"half_life": math.nan}, "nan")]
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        CABS(**settings)
