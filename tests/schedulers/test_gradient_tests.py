"""The norm test, the inner-product test, SimiGrad."""

import math

import pytest

from adaptive_bench.schedulers import InnerProductTest, NormTest, SimiGrad, Stat
from tests.schedulers.observations import seen, wish


def plug_in(norm, variance):
    return {Stat.GRAD_NORM: norm, Stat.GRAD_VARIANCE: variance}


def test_the_norm_test_solved_for_the_batch():
    scheduler = NormTest(initial=20, eta=0.5, half_life=0)
    scheduler.observe(seen(100, plug_in(2.0, 50.5), size=20))
    assert wish(scheduler) == 51  # ceil(50.5 / (0.25 * 4))
    scheduler.observe(seen(200, plug_in(2.0, 10.0), size=51))
    assert wish(scheduler) == 51  # 10 / 51 <= 1 holds: the batch stays
    scheduler.observe(seen(300, plug_in(0.0, 10.0), size=51))
    assert wish(scheduler) == math.inf


def test_the_norm_test_on_the_unbiased_norm():
    scheduler = NormTest(initial=20, eta=0.5, plug_in=False, half_life=0)
    assert scheduler.needs == {Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM}
    scheduler.observe(seen(100, {Stat.GRAD_SQ_NORM: 0.5, Stat.GRAD_VARIANCE: 8.0}, size=20))
    assert wish(scheduler) == 64  # 8 / (0.25 * 0.5): B_simple / eta^2
    scheduler.observe(seen(200, {Stat.GRAD_SQ_NORM: -0.5, Stat.GRAD_VARIANCE: 8.0}, size=64))
    assert wish(scheduler) == math.inf


def test_a_step_without_variance_is_no_test():
    scheduler = NormTest(initial=20, half_life=0)
    scheduler.observe(seen(1, plug_in(2.0, math.nan), batch=1, size=20))
    assert wish(scheduler) == 20


def inner(product_variance, norm, variance):
    return {Stat.INNER_PRODUCT_VARIANCE: product_variance, Stat.GRAD_NORM: norm, Stat.GRAD_VARIANCE: variance}


def test_inner_product_and_orthogonality():
    scheduler = InnerProductTest(initial=4, theta=0.5, nu=2, half_life=0)
    scheduler.observe(seen(100, inner(64.0, 2.0, 500.0), size=4))
    # 64 / (0.25 * 16) = 16; (500 - 64 / 4) / (4 * 4) = 30.25
    assert scheduler.signals() == {"inner_product_size": 16.0, "orthogonality_size": 30.25}
    assert wish(scheduler) == 31
    scheduler.observe(seen(200, inner(800.0, 2.0, 500.0), size=31))
    assert wish(scheduler) == 200  # 800 / 4
    scheduler.observe(seen(300, inner(8.0, 2.0, 5.0), size=200))
    assert wish(scheduler) == 200


def test_without_the_orthogonality_test():
    scheduler = InnerProductTest(initial=4, theta=0.5, nu=None, half_life=0)
    scheduler.observe(seen(100, inner(64.0, 2.0, 500.0), size=4))
    assert wish(scheduler) == 16


def cosine(value):
    return {Stat.HALVES_COSINE: value}


def test_simigrad_moves_by_a_tenth():
    scheduler = SimiGrad(initial=128, target=0.2)
    for value, size, expected in [(0.1, 128, 140), (0.1, 140, 154), (0.3, 154, 138), (0.2, 138, 138), (0.9, 1, 1), (0.0, 5, 6)]:
        scheduler.observe(seen(100, cosine(value), size=size))
        assert wish(scheduler) == expected


def test_simigrad_averages_the_last_cosines():
    scheduler = SimiGrad(initial=100, target=0.2, smoothing=2)
    for value, expected in [(0.5, 90), (0.1, 90), (0.1, 110)]:  # means 0.5, 0.3, 0.1, at a granted 100
        scheduler.observe(seen(100, cosine(value), size=100))
        assert wish(scheduler) == expected
    scheduler.observe(seen(100, cosine(math.nan), size=100))
    assert scheduler.cosines == [0.1, 0.1]


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (NormTest, {"eta": 0}, "eta=0"),
        (NormTest, {"half_life": -2}, "half_life=-2"),
        (InnerProductTest, {"theta": 0}, "theta=0"),
        (InnerProductTest, {"nu": -1}, "nu=-1"),
        (SimiGrad, {"target": 1}, "target=1"),
        (SimiGrad, {"smoothing": 0}, "smoothing=0"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(**settings)
