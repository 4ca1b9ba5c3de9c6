import math

import numpy as np
import pytest

from adaptive_bench.analysis import cells
from adaptive_bench.analysis.intervals import Interval, log_t_interval, t_interval


def test_three_values_by_hand() -> None:
    # mean 91, s = 1, t(2, .975) = 4.302653, half = 4.302653 / sqrt(3) = 2.484138
    interval = t_interval([90, 91, 92])
    assert interval.mean == 91
    assert (interval.low, interval.high) == pytest.approx((88.515862, 93.484138), abs=1e-6)
    assert interval.n == 3


def test_logarithms_by_hand() -> None:
    # logs ln 2 * (0, 1, 2): mean ln 2, s = ln 2, half = 2.484138 * 0.693147 = 1.721873, exp(half) = 5.59500
    interval = log_t_interval([1, 2, 4])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((2, 2 / 5.595, 2 * 5.595), rel=1e-4)


def test_one_value_has_no_bounds() -> None:
    interval = t_interval([3.0])
    assert interval.mean == 3
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert log_t_interval([3.0]).mean == pytest.approx(3)


@pytest.mark.parametrize("function", [t_interval, log_t_interval])
def test_no_value_has_no_mean(function: object) -> None:
    interval = function([])  # type: ignore[operator]
    assert math.isnan(interval.mean)
    assert interval.n == 0


def test_equal_values_have_an_interval_without_width() -> None:
    interval = t_interval([0.1] * 3)  # whose plain standard deviation is 1.7e-17
    assert interval.low == interval.mean == interval.high
    # to logarithms and back is not the identity: exp(log(1000)) is 999.9999999999998
    assert log_t_interval([1000.0] * 3) == Interval(mean=1000, low=1000, high=1000, n=3)


def test_a_logarithm_of_a_negative_value_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        log_t_interval([1, -1])


def test_values_far_apart_do_not_overflow() -> None:
    assert log_t_interval([1e-300, 1e300]).high == math.inf


def test_the_printed_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 93.217
    cases = rng.normal(truth, 0.5, size=(4_000, 5))
    covered = [_covers(cells.interval(t_interval(case), decimals=2), truth=truth) for case in cases]
    assert 0.94 <= np.mean(covered) <= 0.96


def _covers(text: str, *, truth: float) -> bool:
    low, high = text.split("[")[1].rstrip("]").split(", ")
    return float(low) <= truth <= float(high)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(mean=1234.5, low=-1, high=2000, n=2), "1,234.50 [-1.00, 2,000.00]"),
        (Interval(mean=1, low=math.nan, high=math.nan, n=1), "1.00 [-]"),
        (Interval(mean=math.nan, low=math.nan, high=math.nan, n=0), "-"),
        (Interval(mean=math.inf, low=math.nan, high=math.nan, n=1), "inf [-]"),
    ],
)
def test_text(interval: Interval, text: str) -> None:
    assert cells.interval(interval, decimals=2) == text


@pytest.mark.parametrize(("value", "decimals"), [(123456.0, 0), (12.3, 2), (0.0123, 5), (0.0, 2), (math.nan, 2)])
def test_decimals_keep_four_digits(value: float, decimals: int) -> None:
    assert cells.decimals(value) == decimals
