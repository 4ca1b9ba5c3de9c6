"""Sizes computed by hand from B <- B * f(delta)."""

import math
from collections.abc import Sequence

import pytest

from adaptive_bench.schedulers import BatchShape, LossBased, Observation, Position

EPOCH = 1000


def see(scheduler: LossBased, loss: float, *, until: int, samples: int, granted: int = 100) -> float:
    """One step that ends at `until`; returns the wish behind it."""
    position = Position(until, 100 * EPOCH, EPOCH)
    scheduler.observe(Observation(position=position, shape=BatchShape(samples), lr=0.1, loss=loss, stats={}, size=granted))
    return scheduler.propose(position)


def epochs(scheduler: LossBased, losses: Sequence[float]) -> list[float]:
    """The wishes behind epochs of two steps each, whose mean losses are given; granted is always 100."""
    wishes = []
    for epoch, loss in enumerate(losses):
        see(scheduler, loss - 0.5, until=epoch * EPOCH + 500, samples=500)
        wishes.append(see(scheduler, loss + 0.5, until=(epoch + 1) * EPOCH, samples=500))
    return wishes


@pytest.mark.parametrize(
    ("change", "loss", "wish"),
    [
        # from 2.0: -2 %, +2 %, -1 % and +0.5 % (dead zone), -10 % and +10 % (bounds)
        ("linear", 1.96, 110),
        ("linear", 2.04, 90),
        ("linear", 1.98, 100),
        ("linear", 2.01, 100),
        ("linear", 1.80, 125),
        ("linear", 2.20, 80),
        ("exponential", 1.96, 110.51709180756477),  # 100 e^0.1
        ("exponential", 2.04, 90.48374180359595),  # 100 e^-0.1
        ("exponential", 1.98, 100),
        ("exponential", 1.80, 125),
        ("exponential", 2.20, 80),
    ],
)
def test_difference(change, loss, wish):
    scheduler = LossBased(initial=100, change=change, dead_zone=0.0101)  # 1.98 / 2 is not 0.99 in floats
    assert epochs(scheduler, [2.0, loss]) == [100, pytest.approx(wish)]


def test_rate_and_bounds():
    assert epochs(LossBased(initial=100, rate=1), [2.0, 1.8])[-1] == pytest.approx(110)
    assert epochs(LossBased(initial=100, grow=3), [2.0, 1.8])[-1] == pytest.approx(150)
    assert epochs(LossBased(initial=100, shrink=0.3), [2.0, 2.2])[-1] == pytest.approx(50)


def test_negative_losses_fall_as_well():
    # from -2.0 to -2.04: down by 2 % of |-2|
    assert epochs(LossBased(initial=100), [-2.0, -2.04])[-1] == pytest.approx(110)


def test_a_loss_of_zero_before_makes_any_change_infinite():
    assert epochs(LossBased(initial=100), [0.0, 0.1])[-1] == 80
    assert epochs(LossBased(initial=100, change="exponential"), [0.0, -0.1])[-1] == 125
    assert epochs(LossBased(initial=100), [0.0, 0.0])[-1] == 100


def test_moving_average():
    # m = 2.0, 1.95, 1.95, 2.35: delta = -0.025, 0, 0.205
    scheduler = LossBased(initial=100, signal="moving_average", alpha=0.5)
    assert epochs(scheduler, [2.0, 1.9, 1.95, 2.75]) == pytest.approx([100, 112.5, 100, 80])
    assert scheduler.signals() == {"delta": pytest.approx(0.4 / 1.95), "interval_loss": pytest.approx(2.35)}


@pytest.mark.parametrize(
    ("losses", "fluctuation", "delta", "wish"),
    [
        # standard deviation over mean: sqrt(2/3) / 2 = 0.4082482905, a tenth of it, and 0
        ([1, 2, 3], 0.1, 0.3082482905, 80),
        ([1.9, 2.1, 2.0], 0.06, -0.0191751710, 109.5875855),
        ([1.9, 2.1, 2.0], 0.02, 0.0208248290, 89.5875855),
        ([1.9, 2.1, 2.0], 0.04, 0.0008248290, 100),
        ([2, 2, 2], 0.1, -0.1, 125),
        ([9, 2, 2, 2], 0.1, -0.1, 125),  # the window has moved on
    ],
)
def test_variance(losses, fluctuation, delta, wish):
    scheduler = LossBased(initial=100, signal="variance", window=3, fluctuation=fluctuation)
    wishes = epochs(scheduler, losses)
    assert wishes[:2] == [100, 100]
    assert wishes[-1] == pytest.approx(wish)
    assert scheduler.delta == pytest.approx(delta)


def test_an_interval_is_a_mean_by_samples_and_ends_with_the_step_that_crosses_its_border():
    scheduler = LossBased(initial=100)
    see(scheduler, 1.0, until=600, samples=600)
    assert see(scheduler, 2.0, until=1200, samples=600) == 100
    assert scheduler.signals()["interval_loss"] == 1.5
    see(scheduler, 1.0, until=1700, samples=500)
    assert see(scheduler, 2.0, until=2000, samples=300) == 125  # (500 + 600) / 800 = 1.375, -8 %
    assert scheduler.delta == pytest.approx(-0.125 / 1.5)


def test_every_is_in_samples():
    scheduler = LossBased(initial=100, every=300)
    wishes = [see(scheduler, loss, until=100 * step, samples=100) for step, loss in enumerate([2.0] * 3 + [1.96] * 6, start=1)]
    assert wishes == pytest.approx([100] * 5 + [110] * 3 + [100])


def test_changes_start_from_the_size_that_was_granted():
    scheduler = LossBased(initial=100)
    see(scheduler, 2.0, until=1000, samples=1000)
    assert see(scheduler, 1.5, until=2000, samples=1000, granted=40) == 50
    assert see(scheduler, 1.5, until=3000, samples=1000, granted=48) == 48


def test_losses_that_are_not_finite_are_left_out():
    scheduler = LossBased(initial=100)
    assert epochs(scheduler, [2.0, math.nan, 1.8]) == [100, 100, 125]


def test_signals_are_unknown_at_first():
    assert all(map(math.isnan, LossBased().signals().values()))
    assert LossBased().signals().keys() == {"delta", "interval_loss"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"signal": "slope"}, "signal='slope': difference or moving_average or variance is expected"),
        ({"change": "square"}, "change='square'"),
        ({"every": 0}, "every=0"),
        ({"every": 0.5}, "every=0.5"),
        ({"alpha": 0}, "alpha=0: a finite number above 0 and below 1"),
        ({"alpha": 1}, "alpha=1"),
        ({"window": 1}, "window=1: a whole number from 2 up"),
        ({"fluctuation": -0.1}, "fluctuation=-0.1"),
        ({"dead_zone": math.nan}, "dead_zone=nan"),
        ({"rate": 0}, "rate=0"),
        ({"shrink": 0}, "shrink=0: a finite number above 0"),
        ({"shrink": 1.1}, "shrink=1.1"),
        ({"grow": 0.9}, "grow=0.9"),
        ({"grow": math.inf}, "grow=inf"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        LossBased(**settings)


LOSSES = [2.0, 1.9, 1.95, 1.7, 1.72, 1.71, 1.9, 1.6]  # of steps of 250 samples, four an epoch of 1,000


def sheet_wishes(losses: Sequence[float], *, response: str, variation: str, sign: int) -> list[float]:
    """Strategy 4 of the lab sheet as it reads, from the losses of its intervals; granted is always 100."""
    wishes, smooth = [100.0], [losses[0]]
    for loss in losses[1:]:
        smooth.append(0.3 * loss + 0.7 * smooth[-1])
    for now in range(len(losses)):
        if variation == "difference":
            delta = (losses[now] - losses[now - 1]) / losses[now - 1] if now else None
        elif variation == "moving_average":
            delta = (smooth[now] - smooth[now - 1]) / smooth[now - 1] if now else None
        else:
            window = losses[now - 2 : now + 1]
            mean = sum(window) / 3
            spread = math.sqrt(sum((value - mean) ** 2 for value in window) / 3)
            delta = sign * (spread / mean - 0.05) if now >= 2 else None
        if delta is not None:
            change = 1 - 5 * delta if response == "linear" else math.exp(-5 * delta)
            wishes.append(100 * (min(max(change, 0.8), 1.25) if abs(delta) > 0.01 else 1))
    return wishes[1:]


@pytest.mark.parametrize("unit", ["step", "epoch"])
@pytest.mark.parametrize("response", ["linear", "exponential"])
@pytest.mark.parametrize(
    ("variation", "noise"),
    [("difference", "shrinks"), ("moving_average", "shrinks"), ("variance", "shrinks"), ("variance", "grows")],
)
def test_every_reading_of_the_lab_sheet(unit: str, response: str, variation: str, noise: str) -> None:
    intervals = LOSSES if unit == "step" else [sum(LOSSES[:4]) / 4, sum(LOSSES[4:]) / 4, 1.6, 1.9]
    losses = LOSSES if unit == "step" else [*LOSSES, *[1.6] * 4, *[1.9] * 4]
    scheduler = LossBased(
        initial=100,
        every=1 if unit == "step" else None,
        change=response,
        signal=variation,
        noise=noise,
        window=3,
        fluctuation=0.05,
    )
    wishes = [see(scheduler, loss, until=250 * (step + 1), samples=250) for step, loss in enumerate(losses)]
    decided = wishes if unit == "step" else wishes[3::4]
    expected = sheet_wishes(intervals, response=response, variation=variation, sign=1 if noise == "shrinks" else -1)
    assert len(set(expected)) > 1  # the size does change
    assert decided[-len(expected) :] == pytest.approx(expected)
    assert set(decided[: -len(expected)]) <= {100.0}


def test_only_the_variance_measures_noise() -> None:
    with pytest.raises(ValueError, match="noise='grows': signal=difference is no measure of noise; take signal=variance"):
        LossBased(noise="grows")
