from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import PchipInterpolator

from adaptive_bench.analysis import read
from adaptive_bench.analysis.targets import Crossing, costs, crossing, levels

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def curve(*values: float) -> pd.DataFrame:
    """A validation curve with a point every 100 samples, 10 steps, 2 seconds of training and 1 of measuring."""
    rows = [(100.0 * at, 10.0 * at, 2.0 * at, 1.0 * at, value) for at, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["samples", "step", "seconds_train", "seconds_measure", "value"])


def at(found: Crossing | None) -> tuple[float, float, float, float]:
    assert found is not None
    return found.samples, found.steps, found.train, found.measure


def test_before_the_first_evaluation_there_is_only_a_line() -> None:
    # from 10 to 50 the target 20 is a quarter of the way
    found = crossing(curve(10, 50, 90), target=20, maximise=True)
    assert at(found) == (25, 2.5, 0.5, 0.25)
    assert found is not None
    assert found.early
    assert found.line == 25


def test_a_minimised_metric_crosses_downwards() -> None:
    assert at(crossing(curve(8, 4, 3, 3), target=3, maximise=False)) == (200, 20, 4, 2)


def test_between_evaluations_the_curve_is_straight_in_log_samples() -> None:
    values = [0, *(10 * math.log(100 * step) for step in range(1, 8))]
    found = crossing(curve(*values), target=10 * math.log(450), maximise=True)
    assert found is not None
    assert found.samples == pytest.approx(450)
    assert (found.steps, found.train) == pytest.approx((45, 9))
    assert found.line == pytest.approx(400 + 100 * math.log(450 / 400) / math.log(500 / 400))
    assert (found.early, found.confirmed) == (False, True)


def test_a_cubic_is_followed_as_scipy_does() -> None:
    values = np.array([5.0, 30, 50, 60, 66, 69, 71, 72])
    found = crossing(curve(*values), target=62.0, maximise=True)
    cubic = PchipInterpolator(np.log([200, 300, 400, 500]), [50, 60, 66, 69])
    assert found is not None
    assert found.samples == pytest.approx(math.exp(cubic.solve(62, extrapolate=False)[0]))


def test_a_crossing_that_the_next_evaluation_does_not_bear_out_does_not_count() -> None:
    found = crossing(curve(0, 10, 20, 80, 20, 90, 95), target=50, maximise=True)
    assert found is not None
    assert 400 < found.samples < 500
    assert 200 < found.first < 300
    assert crossing(curve(0, 80, 20, 20), target=50, maximise=True) is None


def test_the_last_evaluation_counts_and_is_unconfirmed() -> None:
    found = crossing(curve(0, 10, 20, 80), target=80, maximise=True)
    assert found is not None
    assert (found.samples, found.confirmed, found.early) == (300, False, False)


@pytest.mark.parametrize(("target", "maximise"), [(91, True), (9, False)])
def test_a_miss(target: float, maximise: bool) -> None:
    assert crossing(curve(10, 50, 90), target=target, maximise=maximise) is None


def test_touching_the_target_is_reaching_it() -> None:
    assert at(crossing(curve(10, 90), target=90, maximise=True)) == (100, 10, 2, 1)


@pytest.mark.parametrize("before", [math.nan, math.inf])
def test_there_is_no_line_from_a_point_that_is_not_finite(before: float) -> None:
    assert at(crossing(curve(before, 2), target=3, maximise=False)) == (100, 10, 2, 1)


def test_an_untrained_model_may_meet_the_target() -> None:
    assert at(crossing(curve(10, 50), target=5, maximise=True)) == (0, 0, 0, 0)


def test_nothing_is_above_an_unknown_target() -> None:
    assert crossing(curve(10, 50), target=math.nan, maximise=True) is None


def test_levels_by_hand(results: Results) -> None:
    # medians: start 10, best 90; 10 + .98 * 80 = 88.4, 10 + .95 * 80 = 86
    for seed, (start, best) in enumerate([(9, 80), (10, 90), (12, 91)]):
        results.add(seed=seed, curve=[(0, start), (100, best), (200, best - 1)])
    runs = read(results.folder)
    assert levels(runs, baseline=runs.records) == pytest.approx({1.0: 90, 0.98: 88.4, 0.95: 86})


def test_the_full_level_is_the_median_to_the_last_bit(results: Results) -> None:
    results.add(curve=[(0, 0.1), (100, 0.7)])
    runs = read(results.folder)
    assert levels(runs, baseline=runs.records)[1.0] == 0.7


def test_levels_of_perplexity_are_taken_on_logarithms(results: Results) -> None:
    # from 10,000 to 100 half the way is 1,000
    results.add(curve=[(0, 10_000), (100, 100)], metric="perplexity", maximise=False, best=100.0)
    runs = read(results.folder)
    assert levels(runs, baseline=runs.records, fractions=[0.5])[0.5] == pytest.approx(1_000)


def test_a_diverged_run_is_a_miss_although_it_crossed(results: Results) -> None:
    results.add(seed=0)
    results.add_diverged("fixed_small", seed=1)
    runs = read(results.folder)
    assert costs(runs, records=runs.records, target=50)["samples"].tolist() == [500, math.inf]


def test_diverged_runs_alone_set_no_target(results: Results) -> None:
    results.add_diverged("fixed_small", seed=1)
    runs = read(results.folder)
    assert math.isnan(levels(runs, baseline=runs.records)[0.95])
