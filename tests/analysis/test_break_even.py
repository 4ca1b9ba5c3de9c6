"""From which device on an arm is faster, on runs whose updates and samples are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from adaptive_bench.analysis import notes, read, report, table
from adaptive_bench.analysis.arms import Arm
from adaptive_bench.analysis.break_even import GRID, LARGEST, break_even, half_saturation
from adaptive_bench.analysis.targets import MISS, Crossing

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def arm(label: str, spent: list[tuple[float, float]]) -> Arm:
    """Updates and samples to the target, by seed."""
    found = {
        seed: Crossing(
            samples=samples, steps=updates, train=1.0, measure=0.0, line=samples, first=samples, confirmed=True, early=False
        )
        for seed, (updates, samples) in enumerate(spent)
    }
    return Arm(label=label, records=({"settings": {}, "run": "a", "seed": 0, "status": "done"},), values={}, crossings=found)


# two arms and three seeds: half the updates for 1.2 times the samples, give or take a little
BASE = [(100.0, 3200.0), (110.0, 3520.0), (120.0, 3840.0)]
FEWER = [(50.0, 3840.0), (56.0, 4200.0), (59.0, 4650.0)]


def test_by_hand() -> None:
    found = break_even(arm("base", BASE), arm("other", FEWER))
    assert found is not None
    assert found.wins_above
    for half, mean, low, high in zip(GRID, found.mean, found.lower, found.upper, strict=True):
        logs = [math.log((half * u + n) / (half * v + m)) for (u, n), (v, m) in zip(BASE, FEWER, strict=True)]
        width = stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / math.sqrt(3)
        expected = np.exp([np.mean(logs), np.mean(logs) - width, np.mean(logs) + width])
        assert (mean, low, high) == pytest.approx(tuple(expected), rel=1e-12)
    # at the break-even the mean is 1, at the ends of its interval a bound is
    logs = [math.log((found.at * u + n) / (found.at * v + m)) for (u, n), (v, m) in zip(BASE, FEWER, strict=True)]
    assert np.mean(logs) == pytest.approx(0, abs=1e-9)
    for end, sign in ((found.low, 1), (found.high, -1)):
        logs = [math.log((end * u + n) / (end * v + m)) for (u, n), (v, m) in zip(BASE, FEWER, strict=True)]
        width = stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / math.sqrt(3)
        assert np.mean(logs) + sign * width == pytest.approx(0, abs=1e-7)
    assert found.low < found.at < found.high
    assert str(found) == f"other pays from {found.at:,.0f} [{found.low:,.0f}, {found.high:,.0f}]"


def test_equal_runs_of_which_one_arm_is_dearer_in_everything() -> None:
    dearer = [(u * factor, n * factor) for (u, n), factor in zip(BASE, (1.5, 1.52, 1.49), strict=True)]
    slower, faster = break_even(arm("base", BASE), arm("other", dearer)), break_even(arm("base", dearer), arm("other", BASE))
    assert str(slower) == "other pays nowhere"
    assert str(faster) == "other pays everywhere"


def test_equal_ratios_in_all_pairs_give_no_interval() -> None:
    found = break_even(arm("base", BASE), arm("other", [(u / 2, n / 2) for u, n in BASE]))
    assert found is not None
    assert not found.shown
    assert np.isnan(found.lower).all()
    assert found.mean == pytest.approx(2)


def test_an_arm_that_is_slower_on_some_devices_and_faster_on_none_is_not_said_to_pay() -> None:
    # more samples or fewer, a little more in the mean, and half as many updates again
    other = [(150.0, 3300.0), (166.0, 3460.0), (179.0, 3960.0)]
    worse, better = break_even(arm("base", BASE), arm("other", other)), break_even(arm("base", other), arm("other", BASE))
    assert worse is not None
    assert better is not None
    assert str(worse) == f"other is slower from {worse.high:.2g}, elsewhere it is undecided"
    assert str(better) == f"other pays from {better.high:.2g}, elsewhere it is undecided"


def test_an_arm_that_only_pays_without_parallelism() -> None:
    found = break_even(arm("base", FEWER), arm("other", BASE))
    assert found is not None
    assert not found.wins_above
    assert str(found).startswith("other pays up to ")
    mirrored = break_even(arm("base", BASE), arm("other", FEWER))
    assert mirrored is not None
    assert (found.at, found.low, found.high) == pytest.approx((mirrored.at, mirrored.low, mirrored.high))


def test_noise_shows_no_difference_and_one_seed_no_interval() -> None:
    noisy = [(120.0, 3800.0), (90.0, 2900.0), (130.0, 4000.0)]
    found = break_even(arm("base", BASE), arm("other", noisy))
    assert str(found) == "other shows no difference at any B_half"
    alone = break_even(arm("base", BASE[:1]), arm("other", FEWER[:1]))
    assert alone is not None
    assert math.isnan(alone.low)
    assert str(alone).endswith(" [-]")


def test_a_gain_that_is_shown_only_on_large_devices() -> None:
    other = [(50.0, 3210.0), (56.0, 3500.0), (59.0, 3850.0)]  # as many samples, half the updates
    found = break_even(arm("base", BASE), arm("other", other))
    assert found is not None
    assert found.low == 0
    assert 0 <= found.at < found.high < LARGEST


def test_seeds_that_do_not_match_are_compared_all_the_same() -> None:
    base, other = arm("base", BASE), arm("other", FEWER)
    shifted = Arm(
        label="other", records=other.records, values={}, crossings={seed + 7: each for seed, each in other.crossings.items()}
    )
    found, paired = break_even(base, shifted), break_even(base, other)
    assert found is not None
    assert paired is not None
    assert found.at == pytest.approx(paired.at)
    assert found.high - found.low > paired.high - paired.low


def test_a_miss_has_no_time_to_the_target() -> None:
    missed = Arm(label="other", records=arm("other", FEWER).records, values={}, crossings={0: MISS})
    assert break_even(arm("base", BASE), missed) is None
    assert break_even(missed, arm("other", FEWER)) is None


def test_the_half_saturation_of_a_line_is_that_of_the_line() -> None:
    sizes = np.array([1.0, 4, 16, 64, 256])
    assert half_saturation(sizes, 0.02 + 0.0001 * sizes) == pytest.approx(200)
    assert half_saturation(sizes, 0.001 * sizes) == pytest.approx(0, abs=1e-9)
    assert math.isnan(half_saturation(sizes, np.ones(5)))


def _covered(tables: int, *, half: float = 400.0, pairs: int = 5, noise: float = 0.05) -> float:
    """The share of simulated tables in whose interval the true B_half lies, at which both arms take the same time."""
    rng = np.random.default_rng(0)
    base = np.array([1000.0, 32_000.0])
    updates = 500.0
    other = np.array([updates, half * (base[0] - updates) + base[1]])  # half * U + N is that of the baseline
    inside = 0
    for _ in range(tables):
        logs = noise * rng.standard_normal((2, pairs, 1))  # a slow run is slow in updates and in samples
        drawn = [[tuple(row) for row in (mean * np.exp(each)).tolist()] for mean, each in zip((base, other), logs, strict=True)]
        found = break_even(arm("base", drawn[0]), arm("other", drawn[1]))
        assert found is not None
        inside += found.low <= half <= found.high
    return inside / tables


def test_the_true_break_even_lies_in_its_interval() -> None:
    assert 0.92 <= _covered(300) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("half", "pairs"), [(400.0, 5), (50.0, 3), (3_000.0, 10)])
def test_the_true_break_even_lies_in_its_interval_in_95_percent(half: float, pairs: int) -> None:
    assert 0.93 <= _covered(1_000, half=half, pairs=pairs) <= 0.97


def test_it_stands_under_the_table_and_in_the_report(results: Results) -> None:
    for seed in range(3):
        results.add(seed=seed, curve=[(0, 10), (1000 + 10 * seed, 90)], size=32)
        results.add("large", seed=seed, curve=[(0, 10), (1200 + 13 * seed, 90)], size=128)
    found = table(read(results.folder))[0]
    (each,) = found.break_evens
    # 1,000 / 32 updates against 1,200 / 128: h (31.25 - 9.375) = 200
    assert each.at == pytest.approx(200 / (31.25 - 9.375), rel=0.05)
    (line,) = [note for note in notes(found) if "B_half" in note]
    assert f"large pays from {each.at:.2g}" in line
    page = report(read(results.folder), results.folder / "report.html").read_text()
    assert "On which devices it would be faster" in page
    assert "speed-up in time against B_half of the device" in page
