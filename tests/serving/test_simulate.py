import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.serving import Aimd, Deadline, Profile, Single, Window, bursts, measure, poisson, replayed_seconds, simulate
from tests.serving import known

ENDLESS = 10**9
COUNT = 200_000


def mean_latency(policy, profile, *, rate, seed, count=COUNT, **more):
    outcome = simulate(poisson(rate, count, np.random.default_rng(seed)), policy, profile, queue=ENDLESS, **more)
    return measure(outcome, deadline=1.0)


def agrees(estimate, expected):
    print(f"{estimate.value:.4f} +- {estimate.error:.4f}, expected {expected:.4f}")
    return abs(estimate.value - expected) <= 3 * estimate.error


def test_one_by_one_is_m_d_1():
    expected = known.single(0.7, 1.0)
    assert expected == pytest.approx(1 + 0.7 / 0.6)
    assert agrees(mean_latency(Single(), Profile(tau0=1.0, alpha=0.0), rate=0.7, seed=1).mean, expected)


def test_all_that_waits_is_the_chain_of_sizes():
    expected = known.take_all(2.0, 0.2, 1.0)
    assert expected == pytest.approx(2.7719, abs=5e-5)
    take_all = Window(wait=0, limit=ENDLESS)
    assert agrees(mean_latency(take_all, Profile(tau0=1.0, alpha=0.2), rate=2.0, seed=2).mean, expected)


def test_batches_with_a_cap_are_the_chain_of_queues():
    expected = known.capped(3.0, 1.0, 4)
    assert expected == pytest.approx(1.7584, abs=5e-5)
    assert agrees(mean_latency(Window(wait=0, limit=4), Profile(tau0=1.0, alpha=0.0), rate=3.0, seed=3).mean, expected)


def test_the_two_chains_are_m_d_1_without_batches():
    assert known.capped(0.7, 1.0, 1) == pytest.approx(known.single(0.7, 1.0))
    # two ways to one queue: no limit and a constant time
    assert known.capped(2.0, 1.0, 200) == pytest.approx(known.take_all(2.0, 0.0, 1.0))


def test_a_window_before_a_server_that_is_always_free():
    size, wait = known.window(2.0, 1.5)
    got = mean_latency(Window(wait=1.5, limit=ENDLESS), Profile(tau0=1.0, alpha=0.0), rate=2.0, seed=4, seconds=lambda size: 0.0)
    assert agrees(got.mean, wait)
    sizes = np.array(list(got.sizes))
    counts = np.array(list(got.sizes.values()))
    variance = np.average((sizes - size) ** 2, weights=counts)
    assert abs(got.batch - size) <= 3 * math.sqrt(variance / counts.sum())  # the sizes are independent


@pytest.mark.parametrize(("rate", "alpha", "tau0"), [(2.0, 0.2, 1.0), (0.5, 0.2, 1.0), (4.0, 0.2, 1.0), (5.0, 0.1, 0.3)])
def test_inoues_bound_is_not_exceeded(rate, alpha, tau0):
    bound = known.inoue(rate, alpha, tau0)
    assert known.take_all(rate, alpha, tau0) <= bound
    got = mean_latency(Window(wait=0, limit=ENDLESS), Profile(tau0=tau0, alpha=alpha), rate=rate, seed=5).mean
    print(f"{got.value:.4f} +- {got.error:.4f}, chain {known.take_all(rate, alpha, tau0):.4f}, bound {bound:.4f}")
    assert got.value <= bound + 3 * got.error


def test_the_bound_of_the_specification():
    assert known.inoue(2.0, 0.2, 1.0) == pytest.approx(2.7857, abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Single(), Window(wait=2.0), Aimd(deadline=3.0), Deadline(deadline=6.0)])
def test_of_a_million_requests_none_is_lost(policy):
    arrivals = bursts(2.5, 1_000_000, np.random.default_rng(6))
    outcome = simulate(arrivals, policy, Profile(tau0=1.0, alpha=0.2), queue=100)  # which checks Little's law, too
    assert len(outcome.left) == 1_000_000
    assert outcome.answered.sum() == outcome.sizes.sum()
    assert (outcome.left >= outcome.intended).all()


POLICIES = st.one_of(
    st.just(Single()),
    st.builds(Window, wait=st.floats(1.5, 5.0), limit=st.one_of(st.none(), st.integers(1, 8))),
    st.builds(Aimd, deadline=st.floats(1.2, 5.0)),
    st.builds(Deadline, deadline=st.floats(1.2, 5.0)),
)


@settings(max_examples=60, deadline=None)
@given(
    policy=POLICIES,
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
    queue=st.integers(1, 10),
    clients=st.one_of(st.none(), st.integers(1, 5)),
)
def test_every_request_leaves_once_whatever_comes(policy, gaps, queue, clients):
    arrivals = np.cumsum(gaps)
    outcome = simulate(arrivals, policy, Profile(tau0=1.0, alpha=0.2), queue=queue, clients=clients)
    assert outcome.answered.sum() == outcome.sizes.sum()
    assert (outcome.left >= outcome.sent).all()
    assert (outcome.sent >= arrivals).all()
    if isinstance(policy, Deadline) and clients is None:
        late = outcome.left - outcome.intended > policy.deadline + 1e-6
        assert not (late & outcome.answered).any()  # what it answers is in time, since t(n) is what it knows


def test_a_full_queue_refuses():
    outcome = simulate([0.0, 0.1, 0.2, 0.3], Single(), Profile(tau0=1.0, alpha=0.0), queue=1)
    assert outcome.answered.tolist() == [True, True, False, False]
    assert outcome.left.tolist() == [1.0, 2.0, 0.2, 0.3]


def test_a_closed_loop_hides_the_queue():
    profile, deadline = Profile(tau0=1.0, alpha=0.0), 2.0
    arrivals = poisson(2.0, 2_000, np.random.default_rng(7))  # twice what the server can do
    shown = measure(simulate(arrivals, Single(), profile, queue=ENDLESS, clients=1), deadline=deadline, since="sent")
    meant = measure(simulate(arrivals, Single(), profile, queue=ENDLESS, clients=1), deadline=deadline)
    open_loop = measure(simulate(arrivals, Single(), profile, queue=ENDLESS), deadline=deadline)
    assert shown.p99.value == pytest.approx(1.0)
    assert meant.p99.value == pytest.approx(open_loop.p99.value)
    assert open_loop.p99.value > 900


def test_measured_times_are_replayed_in_turn_or_of_the_nearest_size():
    seconds = replayed_seconds([1, 4, 1], [0.1, 0.5, 0.2])
    assert [seconds(size) for size in (1, 1, 1, 3, 9)] == [0.1, 0.2, 0.1, 0.5, 0.5]
    with pytest.raises(ValueError, match="nothing can be replayed"):
        replayed_seconds([], [])


def test_bad_input_is_named():
    profile = Profile(tau0=1.0, alpha=0.2)
    for queue in (0, -1, 2.5):
        with pytest.raises(ValueError, match=r"queue=.*: a whole number from 1 up"):
            simulate([0.0], Single(), profile, queue=queue)
    with pytest.raises(ValueError, match="arrival 2 is 0: finite times in ascending order"):
        simulate([1.0, 0.0], Single(), profile, queue=1)
    with pytest.raises(ValueError, match="clients=0"):
        simulate([0.0], Single(), profile, queue=1, clients=0)
    for late in (Deadline(deadline=1.0), Aimd(deadline=1.0)):
        with pytest.raises(ValueError, match=r"deadline=1: one forward pass takes 1\.2 s; take a longer deadline"):
            simulate([0.0], late, profile, queue=1)
    with pytest.raises(ValueError, match=r"wait=0\.5: one forward pass takes 1\.2 s, so nothing can be processed"):
        simulate([0.0], Window(wait=0.5), profile, queue=1)
