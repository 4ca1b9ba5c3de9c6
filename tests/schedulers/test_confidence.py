"""Sizes computed by hand from the mean entropy of an interval."""

import math

import pytest

from adaptive_bench.schedulers import BatchShape, Confidence, Observation, Position, Stat

EPOCH = 1000


def see(scheduler: Confidence, entropy: float | None, *, until: int = EPOCH, samples: int = EPOCH, granted: int = 100) -> float:
    """One step that ends at `until`, measured unless the entropy is None; returns the wish behind it."""
    position = Position(until, 100 * EPOCH, EPOCH)
    stats = {} if entropy is None else {Stat.ENTROPY: entropy}
    scheduler.observe(Observation(position=position, shape=BatchShape(samples), lr=0.1, loss=1.0, stats=stats, size=granted))
    return scheduler.propose(position)


@pytest.mark.parametrize(
    ("entropy", "wish", "opposite"), [(0.29, 125, 80), (0.3, 100, 100), (0.5, 100, 100), (0.7, 100, 100), (0.71, 80, 125)]
)
def test_thresholds(entropy, wish, opposite):
    assert see(Confidence(initial=64), entropy) == wish
    assert see(Confidence(initial=64, direction="high_entropy_grows"), entropy) == opposite


@pytest.mark.parametrize(("entropy", "wish", "opposite"), [(0, 2048, 128), (0.25, 1568, 608), (0.75, 608, 1568), (1, 128, 2048)])
def test_continuous(entropy, wish, opposite):
    # 128 + 1920 * (1 - H), and 128 + 1920 * H
    assert see(Confidence(initial=128, rule="continuous"), entropy) == wish
    assert see(Confidence(initial=128, rule="continuous", direction="high_entropy_grows"), entropy) == opposite


def test_continuous_between_other_sizes():
    scheduler = Confidence(initial=128, rule="continuous", smallest=100, largest=300)
    assert scheduler.propose(Position(0, EPOCH, EPOCH)) == 128
    assert see(scheduler, 0.4) == pytest.approx(220)


def test_an_entropy_a_rounding_error_outside_makes_no_impossible_size():
    scheduler = Confidence(initial=128, rule="continuous", smallest=1e-6, largest=2048)
    assert see(scheduler, 1.0000001) == 1e-6


def test_the_mean_is_over_measured_steps_and_by_samples():
    scheduler = Confidence(initial=100, rule="continuous", largest=1100)
    see(scheduler, 0.2, until=300, samples=300)
    see(scheduler, None, until=900, samples=600)
    assert see(scheduler, 0.8, until=1000, samples=100) == pytest.approx(750)  # H = (60 + 80) / 400 = 0.35
    assert scheduler.signals() == {"interval_entropy": pytest.approx(0.35)}


def test_an_interval_without_a_measured_step_decides_nothing():
    scheduler = Confidence(initial=100)
    assert see(scheduler, 0.1) == 125
    assert see(scheduler, None, until=2 * EPOCH) == 125
    assert scheduler.signals() == {"interval_entropy": 0.1}


def test_every_is_in_samples():
    scheduler = Confidence(initial=100, every=200)
    assert [see(scheduler, 0.1, until=100 * step, samples=100) for step in range(1, 5)] == [100, 125, 125, 125]
    assert see(scheduler, 0.9, until=600, samples=200, granted=120) == 96


def test_the_entropy_is_unknown_at_first():
    assert math.isnan(Confidence().signals()["interval_entropy"])


def test_without_shrinking_thresholds_only_grow():
    assert Confidence(shrink=1).only_grows()
    assert not Confidence().only_grows()
    assert not Confidence(rule="continuous", shrink=1).only_grows()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rule": "fuzzy"}, "rule='fuzzy': thresholds or continuous is expected"),
        ({"direction": "up"}, "direction='up'"),
        ({"every": -1}, "every=-1"),
        ({"low": 0.8}, "low=0.8, high=0.7"),
        ({"low": -0.1}, "low=-0.1"),
        ({"high": 1.1}, "high=1.1"),
        ({"low": math.nan}, "low=nan"),
        ({"grow": 0.5}, "grow=0.5"),
        ({"shrink": 0}, "shrink=0"),
        ({"smallest": 0}, "smallest=0"),
        ({"largest": math.inf}, "largest=inf"),
        ({"rule": "continuous", "largest": 64}, "largest=64: at least the smallest size, 128, is expected"),
        ({"rule": "continuous", "smallest": 4096}, "at least the smallest size, 4096"),
        ({"measure_every": -3}, "measure_every=-3"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Confidence(**settings)
