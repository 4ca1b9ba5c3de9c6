import math
from dataclasses import replace

import pytest

from adaptive_bench.schedulers import DiveBatch, GradientNoiseScale, Position, SizeRange, Stat
from adaptive_bench.schedulers.gns import noise_scale_of_sheet
from adaptive_bench.training.size_controller import SizeController
from tests.schedulers.observations import BUDGET, EPOCH, seen, wish


def pair(sq_norm, variance):
    return {Stat.GRAD_SQ_NORM: sq_norm, Stat.GRAD_VARIANCE: variance}


def test_the_size_is_kappa_times_the_ratio_of_averages():
    scheduler = GradientNoiseScale(initial=32, kappa=0.5, half_life=100)
    assert wish(scheduler) == 32
    scheduler.observe(seen(100, pair(2.0, 400.0)))
    assert wish(scheduler) == pytest.approx(100)  # 0.5 * 400 / 2
    # weights 1/4 and 1/2 of 3/4: |G|^2 = (2 / 4 + 8 / 2) / 0.75 = 6, tr = (400 / 4 + 1000 / 2) / 0.75 = 800
    scheduler.observe(seen(200, pair(8.0, 1000.0)))
    assert wish(scheduler) == pytest.approx(0.5 * 800 / 6)


def test_it_shrinks_unless_monotone():
    for monotone, size in ((False, 10), (True, 100)):
        scheduler = GradientNoiseScale(initial=100, half_life=0, monotone=monotone)
        scheduler.observe(seen(100, pair(1.0, 10.0), size=100))
        assert wish(scheduler) == size


def test_a_gradient_lost_in_noise_asks_for_the_maximum():
    scheduler = GradientNoiseScale(half_life=0)
    scheduler.observe(seen(100, pair(-0.01, 10.0)))
    assert wish(scheduler) == math.inf


def test_no_variance_leaves_the_size_alone():
    scheduler = GradientNoiseScale(initial=64, half_life=0)
    scheduler.observe(seen(100, pair(1.0, 0.0)))
    assert wish(scheduler) == 64


def test_it_refuses_to_act_on_noise():
    scheduler = GradientNoiseScale(initial=64, half_life=1e9, max_relative_error=0.1)
    for step, variance in enumerate((100.0, 900.0, 500.0), start=1):
        scheduler.observe(seen(100 * step, pair(1.0, variance)))
        assert wish(scheduler) == 64
    for step in range(4, 60):
        scheduler.observe(seen(100 * step, pair(1.0, 500.0)))
    assert wish(scheduler) == pytest.approx(500, rel=0.05)
    assert scheduler.signals()["noise_scale_relative_error"] <= 0.1


def test_one_change_an_epoch_and_at_most_doubled_by_default():
    slot = SizeController(scheduler=GradientNoiseScale(initial=10), sizes=SizeRange(maximum=500))
    sizes = []
    for samples in range(0, 4000, 250):
        sizes.append(slot.advance(Position(samples, BUDGET, EPOCH))[0])
        slot.observe(seen(samples + 250, pair(1.0, 300.0), batch=250))
    assert sizes == [10] * 4 + [20] * 4 + [40] * 4 + [80] * 4


def sheet(ratio):
    return {Stat.MICROBATCH_RATIO: ratio, Stat.MICROBATCHES: 4}


@pytest.mark.filterwarnings("ignore:.*cannot exceed k - 1")
def test_the_sheets_ratio_is_converted():
    assert noise_scale_of_sheet(1.5, batch=100, microbatches=4) == 100  # 100 * 1.5 / (4 - 1 - 1.5)
    assert noise_scale_of_sheet(3.0, batch=100, microbatches=4) == math.inf
    scheduler = GradientNoiseScale(initial=100, estimator="sheet")
    scheduler.observe(seen(100, sheet(1.5), size=100))
    assert wish(scheduler) == pytest.approx(100)
    # the ratio belongs to a batch size: at 200 its average starts anew, 200 * 1 / (3 - 1)
    scheduler.observe(seen(300, sheet(1.0), size=200))
    assert wish(scheduler) == pytest.approx(100)
    assert scheduler.signals()["sheet_ratio_limit"] == 3


@pytest.mark.filterwarnings("ignore:.*cannot exceed k - 1")
def test_steps_that_do_not_split_as_the_others_say_nothing():
    scheduler = GradientNoiseScale(initial=100, estimator="sheet")
    scheduler.observe(seen(100, sheet(1.5), size=100))
    scheduler.observe(replace(seen(107, {Stat.MICROBATCH_RATIO: 0.0, Stat.MICROBATCHES: 1}, size=100), uncut=False))
    scheduler.observe(seen(200, {Stat.MICROBATCH_RATIO: math.nan, Stat.MICROBATCHES: 1}, size=100))
    assert wish(scheduler) == pytest.approx(100)
    assert scheduler.signals()["sheet_ratio_limit"] == 3


def test_the_sheet_comes_with_a_warning():
    with pytest.warns(UserWarning, match="cannot exceed k - 1"):
        GradientNoiseScale(estimator="sheet")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kappa": 0}, "kappa=0"),
        ({"estimator": "triple"}, "pair or sheet"),
        ({"half_life": -1}, "half_life=-1"),
        ({"max_relative_error": 0}, "max_relative_error=0"),
        ({"estimator": "sheet", "max_relative_error": 0.1}, "take estimator=pair"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        GradientNoiseScale(**settings)


def test_the_sheets_ratio_as_it_is_cannot_ask_for_more_than_its_limit():
    with pytest.warns(UserWarning, match=r"estimator=raw: the ratio .* it stays below kappa \(k - 1\), here 50 \(k - 1\)"):
        scheduler = GradientNoiseScale(initial=100, estimator="raw", kappa=50)
    scheduler.observe(seen(100, sheet(2.5), size=100))
    assert wish(scheduler) == pytest.approx(125)  # 50 * 2.5, below 50 * 3


def test_the_sign_of_noise_can_be_turned():
    scheduler = GradientNoiseScale(initial=100, half_life=0, noise="shrinks")
    scheduler.observe(seen(100, pair(1.0, 400.0)))
    assert wish(scheduler) == 25  # 400 is four times the first size
    scheduler.observe(seen(200, pair(-1.0, 400.0)))
    assert SizeRange(minimum=8, maximum=512).grant(wish(scheduler), 100) == 8  # the noise scale is unbounded
    for rule in (GradientNoiseScale, DiveBatch):
        with pytest.raises(ValueError, match="noise='shrinks': with monotone=true the size never shrinks; take monotone=false"):
            rule(noise="shrinks", monotone=True)
