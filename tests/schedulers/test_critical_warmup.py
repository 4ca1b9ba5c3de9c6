"""Sizes computed by hand from a critical batch size that is linear between its points."""

import math

import pytest

from adaptive_bench.schedulers import CriticalWarmup, Position


def at(scheduler: CriticalWarmup, share: float) -> float:
    return scheduler.propose(Position(round(share * 100_000), 100_000, 1000))


def test_it_doubles_as_the_critical_batch_size_reaches_the_next_doubling():
    # C = 2000 * share up to 0.5: 64 at 0.032, 128 at 0.064, 256 at 0.128, 512 at 0.256; then flat at 1000
    scheduler = CriticalWarmup(initial=32, curve=[[0, 0.001], [0.5, 1000], [1, 1000]])
    shares = [0, 0.01, 0.0319, 0.0321, 0.0639, 0.0641, 0.1279, 0.1281, 0.2559, 0.2561, 0.5, 1]
    assert [at(scheduler, share) for share in shares] == [32, 32, 32, 64, 64, 128, 128, 256, 256, 512, 512, 512]


@pytest.mark.parametrize(
    ("share", "size"), [(0, 128), (0.049, 128), (0.051, 256), (0.1, 512), (0.299, 512), (0.3, 1024), (1, 1024)]
)
def test_default_curve(share, size):
    assert at(CriticalWarmup(), share) == size


def test_powers_are_counted_where_they_are_reached():
    assert at(CriticalWarmup(initial=1, factor=10, curve=[[0, 1000]]), 0.5) == 1000
    assert at(CriticalWarmup(initial=1, factor=10, curve=[[0, 999]]), 0.5) == 100
    assert at(CriticalWarmup(initial=1, factor=5, curve=[[0, 125]]), 0.5) == 125


def test_the_last_point_holds_to_the_end():
    scheduler = CriticalWarmup(initial=10, curve=[[0, 10], [0.2, 40]])
    assert [at(scheduler, share) for share in (0.06, 0.07, 0.2, 0.9)] == [10, 20, 40, 40]
    assert scheduler.critical(0.1) == 25
    assert scheduler.critical(0.9) == 40


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"factor": 1}, "factor=1"),
        ({"factor": math.inf}, "factor=inf"),
        ({"curve": []}, "at least one"),
        ({"curve": [1, 2]}, r"curve=\[1, 2\]: a list, each a list, each a finite number from 0 up"),
        ({"curve": [[0, 1, 2]]}, "pairs"),
        ({"curve": [[0.1, 64]]}, "from 0 to at most 1"),
        ({"curve": [[0, 64], [0.5, 128], [0.5, 256]]}, "ascending shares"),
        ({"curve": [[0, 64], [1.2, 128]]}, "from 0 to at most 1"),
        ({"curve": [[0, 64], [math.nan, 128]]}, "each a finite number"),
        ({"curve": [[0, 64], [0.5, 32]]}, "sizes above 0 that do not fall"),
        ({"curve": [[0, 0]]}, "sizes above 0"),
        ({"curve": [[0, "many"]]}, "each a finite number"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        CriticalWarmup(**settings)
