import math

import numpy as np
import pytest
from scipy import stats

from adaptive_bench.analysis.compare import Comparison
from adaptive_bench.analysis.detectable import detectable
from adaptive_bench.analysis.intervals import Interval


def compared(error: float, *, df: float) -> Comparison:
    effect = Interval(mean=1.0, low=math.nan, high=math.nan, n=5)
    return Comparison(effect=effect, method="paired t", p=0.5, estimate=0.0, error=error, df=df)


@pytest.mark.parametrize(("pairs", "family"), [(3, 2), (5, 1), (5, 8), (10, 22)])
def test_the_printed_test_finds_it_four_times_in_five(pairs: int, family: int) -> None:
    # the deviation of one table says which effect to look for, and other runs of the same true deviation look for it
    rng = np.random.default_rng(3)
    seen = rng.normal(0, 0.1, size=(20_000, pairs)).std(axis=1, ddof=1) / math.sqrt(pairs)
    factor = math.log(detectable(compared(0.01, df=pairs - 1), family=family).mean) / 0.01  # it is proportional to the error
    ratios = rng.normal((factor * seen)[:, None], 0.1, size=(20_000, pairs))
    found = stats.ttest_1samp(ratios, 0, axis=1).pvalue < 0.05 / family
    assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_its_interval_is_that_of_the_true_error() -> None:
    # 4 degrees of freedom: the true error lies between .599 and 2.874 times the observed one
    found = detectable(compared(0.1, df=4), family=1)
    at_known = [math.log(bound) / 0.1 for bound in (found.low, found.high)]
    assert at_known[1] / at_known[0] == pytest.approx(math.sqrt(11.1433 / 0.484419), rel=1e-3)
    assert found.low < found.mean < found.high


def test_slack_is_added() -> None:
    plain = detectable(compared(0.1, df=4), family=1)
    slack = Comparison(effect=plain, method="", p=1, estimate=0, error=0.1, df=4, slack=0.2)
    assert detectable(slack, family=1).mean == pytest.approx(plain.mean * math.exp(0.2))


@pytest.mark.parametrize("known", [compared(0.1, df=1), compared(0.0, df=4), compared(math.nan, df=math.nan)])
def test_two_pairs_or_no_spread_cannot_tell(known: Comparison) -> None:
    assert math.isnan(detectable(known, family=4).mean)


def test_a_wide_spread_stays_finite() -> None:
    assert math.isfinite(detectable(compared(5.0, df=2), family=40).high)
