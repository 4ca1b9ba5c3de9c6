"""Sizes computed by hand from the formula in each docstring."""

import math

import pytest

from adaptive_bench.schedulers import (
    AdaBatch,
    BatchShape,
    Cyclical,
    DiveBatch,
    DiveBatchOracle,
    Exponential,
    Fixed,
    Linear,
    Observation,
    Position,
    Root,
    SizeRange,
    SizeScheduler,
    Step,
)  # fmt: skip
from adaptive_bench.stats import Stat


def path(scheduler: SizeScheduler, *, epochs: int, at: float = 0.0, n: int = 1000) -> list[float]:
    """What is wished for `at` so much of each epoch."""
    return [scheduler.propose(Position(round((epoch + at) * n), epochs * n, n)) for epoch in range(epochs)]


def test_fixed():
    assert path(Fixed(initial=48), epochs=3) == [48, 48, 48]


def test_linear():
    assert path(Linear(initial=10, increment=5), epochs=4) == [10, 15, 20, 25]
    assert path(Linear(initial=10, increment=5, interval=2), epochs=5) == [10, 10, 15, 15, 20]
    assert path(Linear(initial=10, increment=-4), epochs=4) == [10, 6, 2, 1]


def test_exponential_doubles_every_ten_epochs():
    sizes = path(Exponential(initial=16, factor=2, interval=10), epochs=50, at=0.999)
    assert sizes == [16] * 10 + [32] * 10 + [64] * 10 + [128] * 10 + [256] * 10


def test_exponential_takes_the_power_of_the_real_value():
    # 10 * 1.15^5 = 20.11357...; a size rounded at each epoch would be 12, 14, 16, 18, 21
    assert path(Exponential(initial=10, factor=1.15), epochs=6)[5] == pytest.approx(20.113571875)


def test_exponential_beyond_what_a_float_holds_asks_for_the_maximum():
    assert Exponential(initial=2, factor=10, interval=0.001).propose(Position(999, 1000, 1000)) == math.inf


def test_cyclical():
    assert path(Cyclical(initial=8, cycle=3, increment=4), epochs=7) == [8, 12, 16, 8, 12, 16, 8]
    grown = path(Cyclical(initial=8, cycle=3, growth="exponential", factor=1.5), epochs=5)
    assert grown == [8, 12, 18, 8, 12]


def test_step():
    scheduler = Step(initial=32, milestones=[2, 4], sizes=[64, 16])
    assert path(scheduler, epochs=5) == [32, 32, 64, 64, 16]
    assert scheduler.propose(Position(1999, 5000, 1000)) == 32
    assert scheduler.propose(Position(2000, 5000, 1000)) == 64


def test_adabatch():
    hundred = path(AdaBatch(initial=128), epochs=100)
    assert hundred == [128] * 20 + [256] * 20 + [512] * 20 + [1024] * 20 + [2048] * 20
    assert path(AdaBatch(initial=128, interval=1, factor=3), epochs=3) == [128, 384, 1152]
    assert path(AdaBatch(initial=128), epochs=5) == [128, 256, 512, 1024, 2048]


def epoch_of(scheduler: DiveBatch, *, epoch: int, n: int, steps: int, sq_norm: float, sum_sq_norm: float) -> None:
    """One epoch in equal steps; every g_i has |g_i|^2 = sq_norm, and the sum of all ends at squared norm sum_sq_norm."""
    for step in range(1, steps + 1):
        samples = epoch * n + n * step // steps
        stats = {Stat.MEAN_SAMPLE_SQ_NORM: sq_norm, Stat.EPOCH_GRAD_SQ_NORM: sum_sq_norm * (step / steps) ** 2}
        stats = stats if scheduler.measures(Position(samples - n // steps, 10 * n, n), n // steps) else {}
        shape = BatchShape(n // steps)
        scheduler.observe(Observation(position=Position(samples, 10 * n, n), shape=shape, lr=0.1, loss=1.0, stats=stats))


@pytest.mark.parametrize(
    ("delta", "monotone", "size"),
    # diversity = 50,000 * 4.2 / 100,000 = 2.1; delta n diversity = 10,500 at 0.1 and 105 at 0.001
    [(0.1, True, 10_500), (0.001, True, 128), (0.001, False, 105)],
)
def test_divebatch(delta, monotone, size):
    n = 50_000
    scheduler = DiveBatch(initial=128, delta=delta, monotone=monotone)
    assert scheduler.propose(Position(0, 10 * n, n)) == 128
    epoch_of(scheduler, epoch=0, n=n, steps=50, sq_norm=4.2, sum_sq_norm=100_000)
    assert scheduler.propose(Position(n, 10 * n, n)) == pytest.approx(size)
    assert scheduler.diversity == pytest.approx(2.1)
    assert SizeRange(maximum=2048).grant(scheduler.propose(Position(n, 10 * n, n)), 128) == min(size, 2048)


def test_divebatch_with_its_sign_turned_is_the_mirror_image():
    scheduler = DiveBatch(initial=128, delta=0.5, monotone=False, noise="shrinks")
    epoch_of(scheduler, epoch=0, n=1000, steps=5, sq_norm=4.0, sum_sq_norm=8_000.0)
    assert scheduler.propose(Position(1000, 10_000, 1000)) == pytest.approx(128**2 / 250)


def test_divebatch_measures_and_resizes_only_around_its_interval():
    n, scheduler = 1000, DiveBatch(initial=10, delta=1, interval=3)
    for epoch, diversity, size in [(0, 1, 10), (1, 1, 10), (2, 0.05, 50), (3, 9, 50), (4, 9, 50), (5, 0.08, 80)]:
        assert scheduler.measures(Position(epoch * n, 10 * n, n), 1) == (epoch in (2, 5))
        epoch_of(scheduler, epoch=epoch, n=n, steps=10, sq_norm=diversity, sum_sq_norm=1000)
        assert scheduler.propose(Position((epoch + 1) * n, 10 * n, n)) == pytest.approx(size)


def test_divebatch_resizes_every_tenth_of_the_budget_unless_told():
    # 200 epochs: the 20th, 40th ... are measured; 4 epochs: every one
    assert [e for e in range(60) if DiveBatch().measures(Position(e * 1000, 200_000, 1000), 1)] == [19, 39, 59]
    # but the last one, after which no step follows
    assert [DiveBatch().measures(Position(e * 1000, 4000, 1000), 1) for e in range(4)] == [True, True, True, False]


def test_divebatch_of_equal_gradients_is_one_however_the_steps_lie_in_the_epochs():
    n, batch, scheduler, samples, rows, seen = 1137, 512, DiveBatch(initial=1, delta=1, interval=1, monotone=False), 0, 0, []
    while samples < 6 * n:
        rows += batch  # since the border; |g| = 1, so the sum over N rows is N and the squared norm of the sum is N^2
        stats = {Stat.MEAN_SAMPLE_SQ_NORM: 1.0, Stat.EPOCH_GRAD_SQ_NORM: float(rows**2)}
        position = Position(samples + batch, 100 * n, n)
        scheduler.observe(Observation(position=position, shape=BatchShape(batch), lr=0.1, loss=1.0, stats=stats))
        if position.samples // n > samples // n:
            seen.append(scheduler.propose(position))
            rows = 0
        samples = position.samples
    assert seen == [pytest.approx(1)] * 6


def test_divebatch_with_no_gradient_left_asks_for_the_maximum():
    scheduler = DiveBatch(initial=10)
    epoch_of(scheduler, epoch=0, n=1000, steps=4, sq_norm=1.0, sum_sq_norm=0.0)
    assert scheduler.propose(Position(1000, 2000, 1000)) == math.inf


def test_divebatch_counts_a_batch_that_crosses_the_border_in_the_epoch_it_began_in():
    scheduler = DiveBatch(initial=10, delta=1)
    stats = {Stat.MEAN_SAMPLE_SQ_NORM: 2.0, Stat.EPOCH_GRAD_SQ_NORM: 2400.0}
    scheduler.observe(Observation(position=Position(1200, 9000, 1000), shape=BatchShape(1200), lr=0.1, loss=1.0, stats=stats))
    assert scheduler.propose(Position(1200, 9000, 1000)) == pytest.approx(1200 * 2 * 1200 / 2400)  # the summed rows
    assert scheduler.sum_of_sq_norms == 0


def test_divebatch_counts_rows_of_a_text():
    scheduler = DiveBatch(initial=10, delta=1)
    stats = {Stat.MEAN_SAMPLE_SQ_NORM: 2.0, Stat.EPOCH_GRAD_SQ_NORM: 2000.0}
    # 9 rows of 110 tokens and a rest of 10 rows of one token: n = 19, diversity (9 * 2 + 10 * 2) / 2000
    for samples, shape in [(990, BatchShape(9, 110)), (1000, BatchShape(10, 1))]:
        position = Position(samples, 9000, 1000)
        scheduler.observe(Observation(position=position, shape=shape, lr=0.1, loss=1.0, stats=stats, size=10, uncut=False))
    assert scheduler.diversity == pytest.approx(38 / 2000)
    assert scheduler.propose(Position(1000, 9000, 1000)) == 10


def moments(samples: int, sq_norm: float, variance: float) -> Observation:
    stats = {Stat.GRAD_SQ_NORM: sq_norm, Stat.GRAD_VARIANCE: variance}
    return Observation(position=Position(samples, 9000, 1000), shape=BatchShape(100), lr=0.1, loss=1.0, stats=stats)


def test_divebatch_from_moments_is_delta_times_one_plus_the_noise_scale():
    scheduler = DiveBatch(initial=10, delta=0.5, variant="moments", interval=2, half_life=0)
    for samples, wish in [(900, 10), (1000, 10), (1900, 10), (2000, 150.5), (2100, 150.5)]:
        scheduler.observe(moments(samples, 2.0, 600.0))
        assert scheduler.propose(Position(samples, 9000, 1000)) == pytest.approx(wish)
    assert scheduler.diversity == pytest.approx(301 / 1000)


def test_divebatch_from_moments_waits_until_they_are_known():
    scheduler = DiveBatch(initial=10, variant="moments", interval=1, max_relative_error=0.01)
    for samples, variance in [(900, 1.0), (1000, 900.0)]:
        scheduler.observe(moments(samples, 2.0, variance))
    assert scheduler.propose(Position(1000, 9000, 1000)) == 10


def test_the_oracle_resizes_where_it_was_shown_the_diversity():
    scheduler = DiveBatchOracle(initial=10, delta=0.1, interval=2)
    border = Position(1990, 9000, 1000)
    assert scheduler.measures(border, 20)
    assert not scheduler.measures(Position(990, 9000, 1000), 20)
    assert not scheduler.measures(Position(7990, 8000, 1000), 10)  # nothing comes behind it
    seen = Observation(
        position=Position(2010, 9000, 1000), shape=BatchShape(20), lr=0.1, loss=1.0, stats={Stat.DIVERSITY_BOUND: 2100.0}
    )
    scheduler.observe(seen)
    assert scheduler.propose(Position(2010, 9000, 1000)) == pytest.approx(210)


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (Linear, {"interval": 0}, "interval=0"),
        (Linear, {"increment": math.nan}, "increment=nan"),
        (Exponential, {"factor": 0}, "factor=0"),
        (Exponential, {"factor": -2}, "factor=-2"),
        (Cyclical, {"cycle": 0}, "cycle=0"),
        (Cyclical, {"growth": "square"}, "linear or exponential"),
        (Step, {"milestones": [1, 2], "sizes": [3]}, "of one length"),
        (Step, {"milestones": [2, 1], "sizes": [3, 4]}, "ascending"),
        (Step, {"milestones": [2], "sizes": [0]}, r"sizes=\[0\]: a list, each a finite number above 0"),
        (AdaBatch, {"factor": 0.5}, "factor=0.5: a finite number from 1 up"),
        (AdaBatch, {"interval": -1}, "interval=-1"),
        (DiveBatch, {"delta": 0}, "delta=0"),
        (DiveBatch, {"interval": 0.5}, "interval=0.5"),
        (DiveBatch, {"variant": "moment"}, "accumulated or moments"),
        (DiveBatch, {"measure_every": 100}, "adds up every step"),
        (DiveBatchOracle, {"delta": -1}, "delta=-1"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(**settings)


def test_root_by_hand():
    rule = Root(initial=16, final=116, duration=0.25, degree=2)
    # t / duration = 0, 1/25, 1/4, 1, 4
    at = {0: 16, 10: 36, 62.5: 66, 250: 116, 1000: 116}
    assert [rule.propose(Position(samples, 1000, 100)) for samples in at] == [pytest.approx(size) for size in at.values()]
    assert Root(initial=16, final=116, duration=0.5, degree=1).propose(Position(250, 1000, 100)) == pytest.approx(66)
