"""The points of evaluation, by hand."""

import pytest

from adaptive_bench.experiment.grid import points

KINDS = [
    (0.5, [50, 100, 150, 200, 250]),
    (9, []),  # the end of the budget is evaluated anyway
    (0.001, list(range(1, 251))),
    ([0.1, 0.104, 1, 2.5, 7], [10, 100, 250]),  # 10 and 10.4 are one sample
    ({"first": 0.1, "factor": 2, "largest": None}, [10, 20, 40, 80, 160]),
    ({"first": 0.1, "factor": 2, "largest": 0.5}, [10, 20, 40, 80, 130, 180, 230]),  # 80 apart would be more than 50
    ({"first": 0.1, "factor": 4}, [10, 40, 140, 240]),  # largest is 1
    ({"first": 0.01, "factor": 1.5, "largest": None}, [1, 2, 3, 4, 7, 10, 15, 23, 34, 51, 77, 115, 173]),
    ({"first": 0.001, "factor": 1 + 1e-12, "largest": None}, list(range(1, 251))),  # at least one sample apart
]


@pytest.mark.parametrize(("every", "expected"), KINDS)
def test_points_by_hand(every, expected):
    assert list(points(every, epoch_samples=100, budget=250)) == expected


def test_a_point_at_the_budget_is_not_lost_to_rounding():
    assert 0.07 * 100 > 7
    assert list(points([0.07], epoch_samples=100, budget=7)) == [7]
