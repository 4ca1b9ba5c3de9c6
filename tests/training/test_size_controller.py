import pytest

from adaptive_bench.schedulers import CABS, Exponential, Fixed, Linear, Position, SizeRange, Step
from adaptive_bench.training.size_controller import SizeController


def sizes(slot: SizeController, *, steps: int, samples: int = 100) -> list[int]:
    return [slot.advance(Position(step * samples, 10_000, 1000))[0] for step in range(steps)]


def test_a_size_lasts_at_least_the_cooldown():
    slot = SizeController(scheduler=Linear(initial=10, increment=1, interval=0.1), sizes=SizeRange(maximum=100, cooldown=0.3))
    assert sizes(slot, steps=10) == [10, 10, 10, 13, 13, 13, 16, 16, 16, 19]


def test_a_wait_of_whole_epochs_ends_at_the_border_even_where_steps_reach_over_it():
    rule = Exponential(initial=100, factor=1.5, interval=1, cooldown=5)
    slot, samples, changes = SizeController(scheduler=rule, sizes=SizeRange(maximum=10**6, growth_cap=1.5)), 0, []
    while samples < 26_000:
        before = slot.size
        size, _ = slot.advance(Position(samples, 26_000, 1000))
        if before is not None and size != before:
            changes.append(samples / 1000)
        samples += size
    # the first step of every fifth epoch; counted from the ends of the steps, they come at 5, 10.05, 15.1, 20.5 and later
    assert [int(change) for change in changes] == [5, 10, 15, 20, 25]


def test_the_cooldown_of_the_range_goes_before_the_schedulers():
    rule = Linear(initial=10, increment=1, interval=0.1, cooldown=0.5)
    assert sizes(SizeController(scheduler=rule, sizes=SizeRange(maximum=100)), steps=6) == [10] * 5 + [15]
    assert sizes(SizeController(scheduler=rule, sizes=SizeRange(maximum=100, cooldown=0)), steps=3) == [10, 11, 12]


def test_the_scheduler_suggests_a_minimum_and_the_range_overrides_it():
    def first(**sizes) -> int:
        return SizeController(scheduler=CABS(initial=1), sizes=SizeRange(maximum=1000, **sizes)).peek(Position(0, 10_000, 1000))

    assert first() == 16  # CABS's own
    assert first(minimum=4) == 4
    with pytest.raises(ValueError, match="minimum=16 is above maximum=10"):
        SizeController(scheduler=CABS(), sizes=SizeRange(maximum=10))


def test_a_cap_and_a_cooldown_make_growth_by_a_factor_an_interval():
    rule = Step(initial=10, milestones=[0.1], sizes=[1000], cooldown=0.2, growth_cap=2)
    assert sizes(SizeController(scheduler=rule, sizes=SizeRange(maximum=500)), steps=8) == [10, 10, 20, 20, 40, 40, 80, 80]


def test_shrinking_waits_as_well():
    rule = Exponential(initial=64, factor=0.5, interval=0.1, cooldown=0.2)
    assert sizes(SizeController(scheduler=rule, sizes=SizeRange(maximum=100)), steps=5) == [64, 64, 16, 16, 4]


def test_asking_ahead_changes_nothing():
    slot = SizeController(scheduler=Linear(initial=10, increment=1, interval=0.1), sizes=SizeRange(maximum=100, cooldown=0.3))
    slot.advance(Position(0, 10_000, 1000))
    assert slot.peek(Position(300, 10_000, 1000)) == 13
    assert slot.cooling(Position(200, 10_000, 1000)) == pytest.approx(0.1)
    assert slot.size == 10


def test_the_last_change_is_part_of_the_state():
    rule = Linear(initial=10, increment=1, interval=0.1)
    first, second = (SizeController(scheduler=rule, sizes=SizeRange(maximum=100, cooldown=0.3)) for _ in range(2))
    sizes(first, steps=5)
    second.load_state_dict(first.state_dict())
    assert [slot.advance(Position(500, 10_000, 1000))[0] for slot in (first, second)] == [13, 13]


def test_growth_is_measured_against_the_first_size():
    slot = SizeController(scheduler=Linear(initial=10, increment=10, interval=0.1), sizes=SizeRange(maximum=100))
    assert slot.growth == 1
    sizes(slot, steps=3)
    assert slot.growth == 3


def test_reasons_come_with_what_is_left_of_the_cooldown():
    position = Position(0, 10_000, 1000)
    assert SizeController(scheduler=Fixed(), sizes=SizeRange(maximum=500)).signals(position) == {}
    waiting = SizeController(scheduler=Fixed(cooldown=2), sizes=SizeRange(maximum=500))
    assert waiting.signals(position) == {"cooling": 2}
