"""Sizes computed by hand from B = initial * (F_0 - F*) / (F - F*)."""

import math

import pytest

from adaptive_bench.schedulers import AdaDamp, BatchShape, Observation, Position, SizeRange
from adaptive_bench.training.size_controller import SizeController

EPOCH = 1000
LAST = 1e-3  # samples: a half-life so short that the average is the last loss


def see(scheduler: AdaDamp, loss: float, *, until: int, samples: int = 100) -> float:
    position = Position(until, 100 * EPOCH, EPOCH)
    scheduler.observe(Observation(position=position, shape=BatchShape(samples), lr=0.1, loss=loss, stats={}))
    return scheduler.propose(position)


def path(scheduler: AdaDamp, losses: list[float]) -> list[float]:
    return [see(scheduler, loss, until=100 * step) for step, loss in enumerate(losses, start=1)]


def test_the_size_is_inverse_to_the_loss_in_both_directions():
    assert path(AdaDamp(initial=32, half_life=LAST), [2.0, 1.0, 0.5, 4.0, 0.0]) == [32, 64, 128, 16, math.inf]


def test_optimum():
    assert path(AdaDamp(initial=32, half_life=LAST, optimum=0.5), [2.5, 1.5, 0.75, 0.5, 0.4]) == [32, 64, 256, math.inf, math.inf]
    assert path(AdaDamp(initial=32, half_life=LAST, optimum=-1), [3.0, 1.0, 0.0]) == [32, 64, 128]


def test_the_loss_is_averaged_and_the_average_debiased():
    # steps of one half-life: (2 / 4 + 1 / 2) / (3 / 4) = 4 / 3, then (2 / 8 + 1 / 4 + 1 / 2) / (7 / 8) = 8 / 7
    assert path(AdaDamp(initial=32, half_life=100), [2.0, 1.0, 1.0]) == pytest.approx([32, 48, 56])
    # by default the half-life is an epoch
    scheduler = AdaDamp(initial=32)
    see(scheduler, 2.0, until=1000, samples=1000)
    assert see(scheduler, 1.0, until=2000, samples=1000) == pytest.approx(48)
    assert scheduler.signals() == {"loss_first": 2.0, "loss_average": pytest.approx(4 / 3)}


def test_it_starts_at_the_initial_size():
    scheduler = AdaDamp(initial=32)
    assert scheduler.propose(Position(0, EPOCH, EPOCH)) == 32
    assert all(map(math.isnan, scheduler.signals().values()))
    assert see(scheduler, math.nan, until=100) == 32


def test_a_slot_gives_it_an_epoch_between_changes_and_a_factor_of_two():
    scheduler = AdaDamp(initial=32, half_life=LAST)
    slot = SizeController(scheduler=scheduler, sizes=SizeRange(maximum=512))
    sizes = {}
    for samples in range(0, 4000, 250):
        sizes[samples], _ = slot.advance(Position(samples, 100 * EPOCH, EPOCH))
        see(scheduler, 2.0 if samples == 0 else 0.25, until=samples + 250, samples=250)  # asks for 256 at once
    assert [sizes[samples] for samples in (0, 750, 1000, 1750, 2000, 2750, 3000, 3750)] == [32, 32, 64, 64, 128, 128, 256, 256]


def test_an_optimum_above_the_first_loss_asks_for_the_maximum():
    scheduler = AdaDamp(optimum=2)
    see(scheduler, 1.5, until=100)
    assert scheduler.propose(Position(100, 1000, 100)) == math.inf
    see(scheduler, 9.0, until=200)
    assert scheduler.propose(Position(200, 1000, 100)) == math.inf


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimum": math.inf}, "optimum=inf"),
        ({"half_life": -1}, "half_life=-1"),
        ({"half_life": 0}, "half_life=0"),
        ({"cooldown": -1}, "cooldown=-1"),
        ({"growth_cap": 1}, "growth_cap=1"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        AdaDamp(**settings)
