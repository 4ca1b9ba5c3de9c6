import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from adaptive_bench.analysis import cells
from adaptive_bench.analysis.compare import PAIRED, WELCH, difference, holm, ratio, ratio_of_means


def test_paired_difference_by_hand() -> None:
    # differences 2, 1, 3: mean 2, s = 1, half = 2.484138; t = 2 sqrt(3), and for 2 degrees p = 1 - t / sqrt(2 + t^2) = 0.074180
    found = difference({0: 90, 1: 91, 2: 92}, {2: 95, 0: 92, 1: 92})
    assert found.method == PAIRED
    assert (found.effect.mean, found.effect.low, found.effect.high) == pytest.approx((2, -0.484138, 4.484138), abs=1e-6)
    assert found.p == pytest.approx(0.074180, abs=1e-6)
    assert (found.error, found.df) == pytest.approx((1 / math.sqrt(3), 2))


def test_speed_up_is_baseline_over_other() -> None:
    # log ratios ln 2 * (1, 2, 0): see the logarithms in test_intervals
    found = ratio({0: 1000, 1: 2000, 2: 4000}, {0: 500, 1: 500, 2: 4000})
    assert (found.effect.mean, found.effect.low) == pytest.approx((2, 2 / 5.595), rel=1e-4)


def test_welch_where_no_seed_is_shared() -> None:
    one, two = [1.0, 2.0, 4.0], [3.0, 5.0, 9.0, 9.0]
    found = difference(dict(enumerate(one)), dict(enumerate(two, start=10)))
    # variances of the means: (7/3)/3 = .777778 and 9/4 = 2.25; their sum has 3.027778^2 / (.777778^2/2 + 2.25^2/3) degrees
    degrees = 3.0277778**2 / (0.7777778**2 / 2 + 2.25**2 / 3)
    half = stats.t.ppf(0.975, degrees) * math.sqrt(3.0277778)
    assert found.method == WELCH
    assert (found.effect.low, found.effect.high) == pytest.approx((4.1666667 - half, 4.1666667 + half), rel=1e-6)


@pytest.mark.parametrize(
    ("other", "method", "n"),
    [([0, 1, 2, 3], PAIRED, 4), ([2, 3, 4], PAIRED, 3), ([3, 4, 5, 6], PAIRED, 2), (range(4, 9), WELCH, 5)],
)
def test_pairs_are_formed_where_most_seeds_are_shared(other: Sequence[int], method: str, n: int) -> None:
    found = difference(dict.fromkeys(range(5), 1.0), {seed: float(seed) for seed in other})
    assert (found.method, found.effect.n) == (method, n)


def test_welch_with_one_arm_of_equal_values() -> None:
    found = difference({0: 1.0, 1: 1.0}, {2: 2.0, 3: 4.0})
    assert found.effect.mean == 2
    assert found.effect.low < 2 < found.effect.high


def test_welch_of_equal_values_has_no_width() -> None:
    assert difference({0: 1.0, 1: 1.0}, {2: 2.0, 3: 2.0}).effect.low == 1


@pytest.mark.parametrize("seeds", [[0], [1]])
def test_one_seed_gives_a_ratio_without_bounds(seeds: list[int]) -> None:
    effect = ratio({0: 4.0}, dict.fromkeys(seeds, 2.0)).effect
    assert effect.mean == pytest.approx(2)
    assert math.isnan(effect.low)


@pytest.mark.parametrize("cost", [math.inf, 0.0])
def test_no_ratio_with_a_miss_or_without_a_cost(cost: float) -> None:
    found = ratio({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: cost, 2: 3.0})
    assert math.isnan(found.effect.mean)
    assert math.isnan(found.error)


def test_a_miss_of_a_seed_that_is_not_compared_does_no_harm() -> None:
    assert ratio({0: 1.0, 1: 2.0, 2: math.inf}, {0: 1.0, 1: 2.0}).effect.mean == 1


def test_no_runs() -> None:
    assert math.isnan(difference({}, {}).effect.mean)
    assert math.isnan(ratio({0: 1.0}, {}).effect.mean)


def test_equal_differences_of_a_known_resolution_have_a_width() -> None:
    # a deviation of .5 * sqrt(2) / sqrt(12) = .2041 of a difference, half 12.7062 * .2041 / sqrt(2) = 1.834
    found = difference({0: 90.0, 1: 91.0}, {0: 90.5, 1: 91.5}, resolution=0.5)
    assert (found.effect.low, found.effect.high) == pytest.approx((0.5 - 1.834, 0.5 + 1.834), abs=1e-3)
    assert 0.05 < found.p < 1


def test_slack_widens_the_interval_and_weakens_the_test() -> None:
    plain, wide = (ratio({0: 2.0, 1: 2.1, 2: 2.2}, dict.fromkeys(range(3), 1.0), slack=slack) for slack in (0.0, 0.1))
    assert wide.effect.low == pytest.approx(plain.effect.low * math.exp(-0.1))
    assert wide.effect.high == pytest.approx(plain.effect.high * math.exp(0.1))
    assert wide.p > plain.p


def test_a_ratio_of_means_is_that_of_the_means() -> None:
    found = ratio_of_means({0: 4.0, 1: 2.0, 2: 6.0}, {0: 2.0, 1: 0.0, 2: 1.0})
    assert found.effect.mean == pytest.approx(4)
    # baseline over its mean 0 -.5 .5, other 1 -1 0: differences -1 .5 .5, s = sqrt(.75), half 4.302653 * .5 = 2.1513
    assert found.effect.high == pytest.approx(4 * math.exp(2.1513265), rel=1e-6)


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(ValueError, match="costs are 0 or more"):
        ratio({0: 1.0}, {0: -1.0})


def test_holm_by_hand() -> None:
    # sorted .01 * 4, .02 * 3, .04 * 2; nan could not be tested and still is one of four
    assert holm([0.04, math.nan, 0.01, 0.02])[2:] == pytest.approx([0.04, 0.06])
    assert holm([0.04, math.nan, 0.01, 0.02])[0] == pytest.approx(0.08)
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@pytest.mark.slow
def test_the_printed_speed_up_covers_what_it_says() -> None:
    rng = np.random.default_rng(2)
    truth, correlation = 1.3, 0.6
    covered = []
    for _ in range(4_000):
        seed, own = rng.normal(size=5), rng.normal(size=(2, 5))
        baseline, other = np.exp(0.1 * (math.sqrt(correlation) * seed + math.sqrt(1 - correlation) * own))
        effect = ratio(dict(enumerate(truth * baseline)), dict(enumerate(other))).effect
        low, high = cells.speedup(effect).split("[")[1].rstrip("]").split(", ")
        covered.append(float(low) <= truth <= float(high))
    assert 0.94 <= np.mean(covered) <= 0.96
