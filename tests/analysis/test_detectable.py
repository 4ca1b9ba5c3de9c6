import math

import numpy as np
import pytest
from scipy import stats

from adaptive_bench.analysis.detectable import detectable


@pytest.mark.parametrize(("pairs", "comparisons"), [(5, 1), (5, 4), (3, 2)])
def test_a_speed_up_of_that_size_is_found_four_times_in_five(pairs: int, comparisons: int) -> None:
    effect = math.log(detectable(0.1, pairs=pairs, comparisons=comparisons))
    ratios = np.random.default_rng(3).normal(effect, 0.1, size=(20_000, pairs))
    found = stats.ttest_1samp(ratios, 0, axis=1).pvalue < 0.05 / comparisons
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_five_seeds_need_little_spread_to_resolve_a_third() -> None:
    assert detectable(0.1, pairs=5, comparisons=4) < 1.3 < detectable(0.12, pairs=5, comparisons=4)


def test_unknown_with_one_pair() -> None:
    assert math.isnan(detectable(0.1, pairs=1, comparisons=1))
    assert math.isnan(detectable(math.nan, pairs=5, comparisons=1))


def test_no_spread_detects_everything() -> None:
    assert detectable(0.0, pairs=3, comparisons=1) == 1


def test_two_pairs_and_many_arms_stay_finite() -> None:
    assert math.isfinite(detectable(5.0, pairs=2, comparisons=20))
