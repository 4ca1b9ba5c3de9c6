import math

import pytest

from adaptive_bench.serving import Aimd, Deadline, Drop, Profile, Run, Single, WaitUntil, Window

PROFILE = Profile(tau0=1.0, alpha=0.5)


def decided(policy, now, arrivals, limit=None):
    return policy.decide(now, arrivals, limit=policy.start(PROFILE) if limit is None else limit, profile=PROFILE)


def test_single_runs_one():
    assert decided(Single(), 5.0, [1.0, 2.0, 3.0]) == Run(1)


def test_a_window_closes_when_it_is_old_or_full():
    window = Window(wait=2.0, limit=3)
    assert decided(window, 1.0, [0.5, 0.9]) == WaitUntil(2.5)
    assert decided(window, 2.5, [0.5, 0.9]) == Run(2)
    assert decided(window, 1.0, [0.5, 0.6, 0.7, 0.8]) == Run(3)
    assert Window(wait=2.6).start(PROFILE) == 3  # 1 + 0.5 * 3 <= 2.6
    assert decided(Window(wait=0, limit=8), 1.0, [1.0]) == Run(1)


def test_a_deadline_takes_as_many_as_the_oldest_can_bear():
    policy = Deadline(deadline=4.0)
    assert decided(policy, 1.0, [1.0] * 9) == Run(6)  # 1 + 0.5 * 6 = 4
    assert decided(policy, 2.0, [1.0] * 9) == Run(4)
    assert decided(policy, 3.5, [1.0] * 9) == Run(1)  # exactly in time
    assert decided(policy, 3.5, [0.9, 0.95, 1.0, 2.0]) == Drop(2)
    assert decided(policy, 9.0, [0.9, 0.95]) == Drop(2)
    early = Deadline(deadline=4.0, at_least=3)  # t(3) = 2.5: nobody older than 1.5, if three wait
    assert decided(early, 2.6, [1.0, 1.2, 1.3]) == Drop(1)
    assert decided(early, 2.6, [1.2, 1.3]) == Run(2)


def test_aimd_adds_one_and_takes_a_tenth():
    policy = Aimd(deadline=3.0)
    limit = policy.start(PROFILE)
    for size in range(1, 5):
        assert decided(policy, 0.0, [0.0] * 20, limit) == Run(size)
        limit = policy.next_limit(limit, size=size, seconds=PROFILE.seconds(size))
    assert decided(policy, 0.0, [0.0] * 20, limit) == Run(5)
    assert policy.next_limit(limit, size=5, seconds=3.5) == pytest.approx(4.5)
    assert policy.next_limit(limit, size=2, seconds=2.0) == limit  # not full: nothing learnt
    assert policy.next_limit(1.0, size=1, seconds=9.0) == 1.0
    assert policy.start(PROFILE) == 1  # the policy itself has no state


def test_deciding_changes_nothing():
    for policy in (Single(), Window(wait=2.0, limit=3), Aimd(deadline=3.0), Deadline(deadline=4.0)):
        arrivals = [0.5, 1.0, 2.0]
        assert decided(policy, 2.2, arrivals) == decided(policy, 2.2, arrivals)
        assert arrivals == [0.5, 1.0, 2.0]


def test_the_largest_batch_of_a_profile():
    assert [PROFILE.largest(within) for within in (0.5, 1.4, 1.5, 2.0, 2.1)] == [0, 0, 1, 2, 2]
    assert Profile(tau0=1.0, alpha=0.0).largest(1.0) == math.inf
    assert PROFILE.saturated(4.0, queue=100) == pytest.approx(6 / 4)
    assert PROFILE.saturated(4.0, queue=2) == pytest.approx(2 / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Profile(tau0=-1.0, alpha=0.1), "tau0=-1.0: a finite number from 0 up is expected"),
        (lambda: Profile(tau0=0.0, alpha=0.0), "a forward pass takes time"),
        (lambda: Window(wait=-1.0), "wait=-1.0: a finite number from 0 up"),
        (lambda: Window(wait=1.0, limit=0), "limit=0: a whole number from 1 up"),
        (lambda: Deadline(deadline=0.0), "deadline=0.0: a finite number above 0"),
        (lambda: Deadline(deadline=math.nan), "deadline=nan: a finite number above 0"),
        (lambda: Aimd(deadline=1.0, backoff=1.0), "backoff=1.0: a finite number from 0 up and below 1"),
        (lambda: Aimd(deadline=1.0, initial=0), "initial=0: a whole number from 1 up"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
