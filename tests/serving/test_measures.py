import numpy as np
import pytest

from adaptive_bench.serving import Profile, Single, Window, batch_means, measure, simulate


def test_what_is_measured_by_hand():
    # one server, a second a request, two may wait: the fourth is refused
    outcome = simulate([0.0, 0.5, 0.6, 0.7], Single(), Profile(tau0=1.0, alpha=0.0), queue=2)
    got = measure(outcome, deadline=2.0)
    assert got.throughput == pytest.approx(3 / 3)
    assert got.goodput == pytest.approx(2 / 3)  # latencies 1, 1.5 and 2.4
    assert got.violations.value == pytest.approx(2 / 4)
    assert got.refused == pytest.approx(1 / 4)
    assert got.p50.value == pytest.approx(1.5)
    assert got.mean.value == pytest.approx(4.9 / 3)


def test_the_histogram_of_batch_sizes():
    outcome = simulate([0.0, 0.1, 0.2, 5.0], Window(wait=1.0, limit=10), Profile(tau0=1.0, alpha=0.0), queue=9)
    got = measure(outcome, deadline=9.0)
    assert got.sizes == {1: 1, 3: 1}
    assert got.batch == 2


def test_intervals_by_batch_means_cover_where_those_of_independent_values_do_not():
    rng = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(200):
        series = np.empty(8_000)
        series[0] = value = rng.normal() / (1 - 0.9**2) ** 0.5
        for at, noise in enumerate(rng.normal(size=7_999), start=1):
            series[at] = value = 0.9 * value + noise  # correlated as latencies are, with mean 0
        got = batch_means(series)
        covered += got.low <= 0 <= got.high
        naive += abs(series.mean()) <= 1.96 * series.std() / 8_000**0.5
    print(f"batch means cover in {covered / 2} %, independent values in {naive / 2} %")
    assert covered >= 180
    assert naive <= 120


def test_a_short_series_has_no_interval():
    assert np.isnan(batch_means(np.ones(5)).low)
    assert np.isnan(batch_means(np.array([])).value)


def test_a_deadline_of_nothing_is_named():
    with pytest.raises(ValueError, match="deadline=0: a finite number above 0"):
        measure(simulate([0.0], Single(), Profile(tau0=1.0, alpha=0.0), queue=1), deadline=0)
