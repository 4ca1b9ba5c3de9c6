import json
import math

import numpy as np
import pytest

from adaptive_bench.schedulers import Stat
from adaptive_bench.schedulers.averages import Average, NoiseScale
from tests.schedulers.observations import seen


def moments(sq_norm, variance):
    return {Stat.GRAD_SQ_NORM: sq_norm, Stat.GRAD_VARIANCE: variance}


def test_the_first_value_is_the_average():
    average = Average(half_life=5000)
    assert math.isnan(average.value)
    average.add(7.0, seen(100))
    assert average.value == pytest.approx(7.0)
    assert math.isnan(average.error)  # one value says nothing of its scatter


def test_weights_halve_with_every_half_life_of_samples():
    average = Average(half_life=100)
    # steps of 100 with a half-life of 100: weights 1/2 each, the first one halved twice: (1 * 1/8 + 2 * 1/4 + 6 * 1/2) / (7/8)
    for samples, value in ((100, 1.0), (200, 2.0), (300, 6.0)):
        average.add(value, seen(samples))
    assert average.value == pytest.approx((1 / 8 + 2 / 4 + 6 / 2) / (7 / 8))


def test_the_half_life_is_in_samples_not_in_measured_steps():
    often, seldom = Average(half_life=400), Average(half_life=400)
    for samples in range(100, 3000, 100):
        often.add(1.0 if samples <= 2000 else 0.0, seen(samples))
    for samples in range(500, 3000, 500):
        seldom.add(1.0 if samples <= 2000 else 0.0, seen(samples, batch=500))
    # what weighs at least 900 (or 500) samples' worth of halvings, over all that was seen since the start
    assert often.value == pytest.approx((0.5 ** (900 / 400) - 0.5 ** (2900 / 400)) / (1 - 0.5 ** (2900 / 400)))
    assert seldom.value == pytest.approx((0.5 ** (500 / 400) - 0.5 ** (2500 / 400)) / (1 - 0.5 ** (2500 / 400)))


def test_a_half_life_of_zero_keeps_the_last_value_only():
    average = Average(half_life=0)
    for samples in (100, 200, 300):
        average.add(float(samples), seen(samples))
    assert average.value == 300
    assert average.count == 1


def test_values_that_are_not_finite_are_left_out():
    average = Average(half_life=500)
    for samples, value in ((100, 3.0), (200, math.nan), (300, math.inf)):
        average.add(value, seen(samples))
    assert average.value == pytest.approx(3.0)


def test_the_error_of_equal_weights_is_the_usual_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    average = Average(half_life=1e9)
    for step, value in enumerate(values, start=1):
        average.add(float(value), seen(100 * step))
    assert average.count == pytest.approx(50, rel=1e-3)
    assert average.error == pytest.approx(values.std(ddof=1) / math.sqrt(50), rel=1e-3)


def test_the_noise_scale_is_a_ratio_of_averages():
    noise = NoiseScale(half_life=1e12)
    for samples, pair in ((100, (1.0, 300.0)), (200, (3.0, 500.0))):
        noise.add(seen(samples, moments(*pair)))
    assert noise.value == pytest.approx(800 / 4)  # and not the mean of 300 and 167


def test_a_squared_norm_below_zero_means_that_noise_is_all_there_is():
    noise = NoiseScale()
    noise.add(seen(100, moments(-0.5, 300.0)))
    assert noise.value == math.inf
    assert noise.trusted
    noise.max_relative_error = 0.5
    assert not noise.trusted


def test_steps_without_moments_change_nothing():
    noise = NoiseScale()
    noise.add(seen(100, {}))
    noise.add(seen(200, moments(math.nan, 1.0)))
    assert math.isnan(noise.value)
    assert not noise.trusted


def test_the_relative_error_of_the_ratio_is_that_of_repeated_runs():
    rng = np.random.default_rng(1)
    ratios, errors = [], []
    for _ in range(300):
        noise = NoiseScale(half_life=1e9)
        for step in range(1, 61):
            shared = rng.normal()
            noise.add(seen(100 * step, moments(4 + shared, 800 - 100 * shared + 50 * rng.normal())))
        ratios.append(noise.value)
        errors.append(noise.relative_error)
    assert np.mean(errors) == pytest.approx(np.std(ratios) / 200, rel=0.1)


def test_parts_are_kept_with_the_state_of_what_holds_them():
    noise, again = NoiseScale(), NoiseScale()
    noise.add(seen(100, moments(1.0, 300.0)))
    again.load_state_dict(json.loads(json.dumps(noise.state_dict())))
    assert again == noise
    with pytest.raises(ValueError, match="does not belong to Average"):
        again.load_state_dict({**noise.state_dict(), "sq_norm": {"weight": 1.0}})
