import numpy as np
import pytest

from adaptive_bench.serving.arrivals import burst_rates, bursts, poisson, read, replayed
from tests.serving import known


def counts(times, every):
    """Arrivals in consecutive stretches of time; the last, cut one is left out."""
    return np.bincount((times // every).astype(int))[:-1]


def test_poisson_arrivals_have_their_rate_and_variance():
    found = counts(poisson(4.0, 200_000, np.random.default_rng(0)), every=10.0)
    assert found.mean() == pytest.approx(40, rel=0.01)
    assert found.var() / found.mean() == pytest.approx(1, abs=0.1)


def test_bursts_have_the_mean_rate_and_the_variance_of_an_mmpp():
    times = bursts(4.0, 1_000_000, np.random.default_rng(1), factor=5, share=0.2, stay=10)
    assert (np.diff(times) >= 0).all()
    assert 1_000_000 / times[-1] == pytest.approx(4.0, rel=0.02)
    expected = known.burstiness(*burst_rates(4.0, factor=5, share=0.2, stay=10))
    found = counts(times, every=500.0)
    assert found.var() / found.mean() == pytest.approx(expected, rel=4 * (2 / len(found)) ** 0.5)  # of a variance
    assert expected > 10


def test_a_generator_decides_the_arrivals():
    for law in (poisson, bursts):
        one, same, other = (law(2.0, 100, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert (one == same).all()
        assert (one != other).any()
        assert len(one) == 100


def test_a_recording_is_stretched_to_a_rate(tmp_path):
    assert replayed([5.0, 6.0, 9.0]).tolist() == [0.0, 1.0, 4.0]
    assert replayed([5.0, 6.0, 9.0], rate=4.0).tolist() == [0.0, 0.125, 0.5]
    (tmp_path / "times.txt").write_text("5\n6.0\n9\n")
    assert read(tmp_path / "times.txt") == [5.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: poisson(0.0, 10, np.random.default_rng(0)), "rate=0.0: a finite number above 0"),
        (lambda: poisson(1.0, 0, np.random.default_rng(0)), "count=0: a whole number from 1 up"),
        (lambda: bursts(1.0, 10, np.random.default_rng(0), share=0.0), "share=0: a share of time between 0 and 1"),
        (lambda: bursts(1.0, 10, np.random.default_rng(0), factor=1.0), "factor=1.0: a finite number above 1"),
        (lambda: replayed([]), "no arrivals: at least one"),
        (lambda: replayed([1.0, 3.0, 2.0]), "arrival 3 is 2: finite times in ascending order"),
        (lambda: replayed([1.0, float("nan"), 2.0]), "arrival 2 is nan"),
        (lambda: replayed([1.0, 1.0], rate=2.0), "cannot be stretched"),
    ],
)
def test_bad_arrivals_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unreadable_recording_is_named(tmp_path):
    with pytest.raises(ValueError, match="a time in seconds a line is expected"):
        read(tmp_path / "absent.txt")
