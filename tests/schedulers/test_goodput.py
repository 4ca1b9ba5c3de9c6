import math
from dataclasses import replace

import pytest

from adaptive_bench.schedulers import BatchShape, Goodput, Position, SizeRange, Stat
from adaptive_bench.training.size_controller import SizeController
from tests.schedulers.observations import BUDGET, EPOCH, seen, wish


def moments(noise_scale):
    return {Stat.GRAD_SQ_NORM: 1.0, Stat.GRAD_VARIANCE: noise_scale}


def run(scheduler, steps):
    """(samples behind the step, rows, seconds), all at noise scale 300."""
    for samples, rows, seconds in steps:
        scheduler.observe(seen(samples, moments(300.0), batch=rows, size=rows, seconds=seconds))


def test_the_step_time_is_a_line_through_the_means():
    scheduler = Goodput(initial=100)
    # the first step of a size is left out; then 2 s at 100 rows (three times) and 3 s at 200 rows (once)
    run(scheduler, [(100, 100, 9.0), (200, 100, 2.0), (300, 100, 2.5), (400, 100, 1.5), (600, 200, 9.0), (800, 200, 3.0)])
    fixed, per_sample = scheduler.step_time()
    assert (fixed, per_sample) == pytest.approx((1.0, 0.01))


def test_a_line_never_starts_below_zero_and_never_falls():
    scheduler = Goodput(initial=100)
    run(scheduler, [(100, 100, 1.0), (200, 100, 1.0), (400, 200, 3.0), (600, 200, 3.0)])
    # 2 s more for 100 rows more would start at -1: t = b rows with b = (100 * 1 + 200 * 3) / (100^2 + 200^2)
    assert scheduler.step_time() == pytest.approx((0.0, 700 / 50_000))
    scheduler = Goodput(initial=100)
    run(scheduler, [(100, 100, 1.0), (200, 100, 1.0), (400, 200, 0.5), (600, 200, 0.5)])
    assert scheduler.step_time() == pytest.approx((0.75, 0.0))


def test_the_best_goodput_of_the_candidates():
    scheduler = Goodput(initial=100, largest=400, candidates=3)  # 100, 200, 400
    run(scheduler, [(100, 100, 2.0), (200, 100, 2.0), (400, 200, 3.0), (600, 200, 3.0)])
    assert wish(scheduler) == 100
    # t = 1 + rows / 100, efficiency = 400 / (300 + B):
    # 100: 100 / 2 * 1 = 50; 200: 200 / 3 * 0.8 = 53.3; 400: 400 / 5 * 4 / 7 = 45.7; at 100, 200 promises 1.067 > 1.05
    run(scheduler, [(1000, 100, 2.0)])
    assert scheduler.gain == pytest.approx(200 / 3 * 0.8 / 50)
    assert wish(scheduler) == pytest.approx(200)


def test_a_gain_inside_the_hysteresis_changes_nothing():
    scheduler = Goodput(initial=100, largest=400, candidates=3, hysteresis=1.07)
    run(scheduler, [(100, 100, 2.0), (200, 100, 2.0), (400, 200, 3.0), (600, 200, 3.0), (1000, 100, 2.0)])
    assert wish(scheduler) == 100


def test_with_one_size_known_it_tries_a_larger_one():
    scheduler = Goodput(initial=100, largest=400, candidates=3)
    run(scheduler, [(500, 100, 2.0), (1000, 100, 2.0)])
    assert wish(scheduler) == pytest.approx(400)  # the range lets it double at most


def test_growth_waits_for_the_time_of_the_size_it_grew_to():
    slot = SizeController(scheduler=Goodput(initial=10, largest=400), sizes=SizeRange(maximum=400))
    sizes, samples = [], 0
    while samples < 4000:
        size, _ = slot.advance(Position(samples, BUDGET, EPOCH))
        samples += size
        slot.observe(seen(samples, moments(30.0), batch=size, seconds=0.01 * size))  # no throughput to gain
        sizes.append(size)
    assert max(sizes) == 20  # tried once, at the first epoch's end
    assert sizes[-1] == 10  # and given up: efficiency falls and seconds a sample do not


def test_the_rest_of_a_text_is_no_size_to_time():
    scheduler = Goodput(initial=100)
    run(scheduler, [(100, 100, 2.0), (200, 100, 2.0)])
    for samples in (207, 214):
        scheduler.observe(replace(seen(samples, batch=7, size=100, seconds=0.01), uncut=False))
    assert scheduler.step_time() == (2.0, 0.0)
    scheduler.observe(replace(seen(1000, size=100, seconds=9.0), shape=BatchShape(100, 2)))
    assert list(scheduler.times) == ["100"]
    assert scheduler.step_time() == (0.0, 0.0)  # longer rows are other steps


def test_nothing_is_decided_without_times_or_inside_an_epoch():
    scheduler = Goodput(initial=100)
    run(scheduler, [(900, 100, math.nan), (1000, 100, math.nan)])
    run(scheduler, [(1100, 100, 1.0), (1200, 100, 1.0)])
    assert wish(scheduler) == 100
    assert scheduler.propose(Position(0, 10, 10)) == 100


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"largest": 64}, "largest=64"),
        ({"candidates": 1}, "candidates=1"),
        ({"hysteresis": 0.9}, "hysteresis=0.9"),
        ({"max_relative_error": -1}, "max_relative_error=-1"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Goodput(**settings)
