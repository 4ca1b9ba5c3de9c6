"""The promises of the tables on a few hundred simulated ones; `bench/coverage.py` has the same checks on thousands."""

import math

import pytest

from adaptive_bench.analysis import verdict
from bench import coverage

TABLES = 150


def error(share: float, tables: int = TABLES) -> float:
    """Four binomial standard errors of a share."""
    return 4 * math.sqrt(share * (1 - share) / tables)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_hold_the_truth_as_often_as_they_say(n):
    for name, share in coverage.means(n=n, tables=TABLES).items():
        assert share == pytest.approx(0.95, abs=error(0.95)), name


def test_effects_and_break_evens_hold_the_truth_as_often_as_they_say():
    for name, share in coverage.causes(n=5, tables=TABLES).items():
        assert share == pytest.approx(0.95, abs=error(0.95)), name


@pytest.mark.parametrize("shape", coverage.SHAPES)
def test_speed_ups_on_a_grid_of_nine_evaluations(shape):
    found = coverage.grids(shape, coverage.grid(shape, every=9.0), tables=40)
    assert found.refused == 0
    assert abs(found.bias) < 0.03
    assert found.covered > 0.9 - error(0.9, 40)


def test_a_cubic_places_what_a_straight_line_would_miss_by_four_percent():
    assert abs(coverage.grids("1 - exp(-s)", coverage.grid("1 - exp(-s)", every=4.5), tables=40).bias) < 0.015


def test_speed_ups_on_a_geometric_grid():
    found = coverage.grids("s / (1 + s)", coverage.grid("s / (1 + s)", every=None), tables=40)
    assert found.refused == 0
    assert abs(found.bias) < 0.03
    assert found.covered > 0.9 - error(0.9, 40)


@pytest.mark.parametrize("every", [2.2, 1.1, 0.9])
def test_a_crossing_within_two_evaluations_has_no_speed_up(every):
    assert coverage.grids("1 - exp(-s)", coverage.grid("1 - exp(-s)", every=every), tables=20).refused > 0.9


def test_noise_moves_a_sustained_crossing_far_less_than_the_first():
    found = coverage.noise(tables=60)
    assert found["first"].bias > 0.04
    assert abs(found["sustained"].bias) < 0.6 * found["first"].bias


@pytest.mark.parametrize(("arms", "tables"), [(4, 120), (11, 60)])
def test_a_family_without_effects_shows_none(arms, tables):
    assert coverage.family(arms=arms, tables=tables) < 0.05 + error(0.05, tables)


@pytest.mark.parametrize(("n", "family", "welch"), [(3, 1, False), (5, 8, False), (10, 22, False)])
def test_the_printed_test_finds_the_detectable_effect(n, family, welch):
    assert coverage.power(n=n, family=family, tables=TABLES, welch=welch) == pytest.approx(0.8, abs=error(0.8))


def test_two_pairs_state_no_detectable_effect():
    assert math.isnan(coverage.power(n=2, family=8, tables=5))


@pytest.mark.parametrize("truth", [{"speedup": coverage.SPEEDUP, "change": -coverage.MARGIN}, {"spread": 0.05}])
def test_faster_and_not_worse_is_seldom_wrong(truth):
    assert coverage.said(verdict.FASTER_NOT_WORSE, arms=4, tables=100, **truth) < 0.05 + error(0.05, 100)


def test_faster_and_not_worse_is_said_where_it_is_true():
    assert coverage.said(verdict.FASTER_NOT_WORSE, arms=4, tables=50, speedup=coverage.SPEEDUP, spread=0.05) > 0.9
