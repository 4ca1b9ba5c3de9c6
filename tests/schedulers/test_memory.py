"""The limit of memory on a simulated gauge, and the sheet's rule on it."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adaptive_bench.schedulers.memory import CALM, MemoryBased, MemoryControl
from adaptive_bench.stats import Stat
from tests.schedulers.observations import seen, wish


class Gauge:
    """u = (a + c b) / capacity, and memory that runs out above 1; with noise, a peak is up to so much larger."""

    def __init__(self, *, fixed: float, slope: float, capacity: float, noise: float = 0.0, seed: int = 0) -> None:
        self.fixed, self.slope, self.capacity, self.noise = fixed, slope, capacity, noise
        self.ran_out = 0
        self.generator = np.random.default_rng(seed)

    def best(self, control: MemoryControl) -> int:
        return math.floor(((1 - control.margin) * self.capacity - self.fixed) / self.slope + 1e-9)

    def drive(self, control: MemoryControl, passes: int) -> list[int]:
        """Passes that the limit always bounds; returns the limits."""
        limits = []
        for _ in range(passes):
            size = control.limit
            used = (self.fixed + self.slope * size) / self.capacity * (1 + self.noise * self.generator.random())
            if used > 1:
                control.exhausted(size)
                self.ran_out += 1
            else:
                control.observe(size, used)
            limits.append(control.limit)
        return limits


@given(fixed=st.integers(0, 500), slope=st.integers(1, 20), capacity=st.integers(1000, 200_000), first=st.integers(1, 64))
@example(fixed=0, slope=17, capacity=1000, first=40)  # memory runs out at 80 and at 60
@settings(max_examples=200, deadline=None)
def test_it_settles_on_the_largest_size_that_leaves_the_margin(fixed, slope, capacity, first) -> None:
    gauge, control = Gauge(fixed=fixed, slope=slope, capacity=capacity), MemoryControl()
    best = gauge.best(control)
    control.limit = first
    limits = gauge.drive(control, 200)
    if best < 1:
        assert limits[-1] == 1
        return
    # a size between low and high is left alone: it need not be the best
    used = (fixed + slope * limits[-1]) / capacity
    assert limits[-1] == best or control.low <= used <= control.high
    assert len(set(limits[60:])) == 1
    down = math.ceil(math.log2(max(1, first / best)))
    assert gauge.ran_out <= 2
    assert control.changes <= math.ceil(math.log2(max(1, best / first))) + 2 + down + gauge.ran_out


def test_it_reaches_exactly_b_star_and_in_few_steps() -> None:
    gauge, control = Gauge(fixed=100, slope=3, capacity=10_000), MemoryControl()
    control.limit = 7
    limits = gauge.drive(control, 100)
    assert limits[-1] == gauge.best(control) == 2966
    assert control.changes <= math.ceil(math.log2(2966 / 7)) + 2
    assert limits == sorted(limits)


def test_noise_does_not_make_it_oscillate() -> None:
    for seed in range(20):
        gauge, control = Gauge(fixed=500, slope=3, capacity=10_000, noise=0.02, seed=seed), MemoryControl()
        control.limit = 16
        limits = gauge.drive(control, 500)
        assert max(limits[100:]) - min(limits[100:]) <= 0.01 * gauge.best(control)
        assert control.changes <= math.ceil(math.log2(gauge.best(control) / 16)) + 8
        assert limits[-1] >= 0.7 * gauge.best(control)


@pytest.mark.parametrize("more", [500, 2000])  # within the margin, and so much that memory runs out
def test_a_jump_of_what_lives_beside_the_batch_lowers_the_limit_once(more) -> None:
    gauge, control = Gauge(fixed=100, slope=3, capacity=10_000), MemoryControl()
    control.limit = 7
    limits = [gauge.drive(control, 100)[-1]]
    gauge.fixed += more
    limits += gauge.drive(control, 100)
    assert sum(later < earlier for earlier, later in pairwise(limits)) == 1
    assert limits[-1] == pytest.approx(gauge.best(control), abs=1)


def test_memory_that_runs_out_halves_and_is_never_tried_again() -> None:
    control = MemoryControl()
    control.limit = 100
    control.exhausted(100)
    assert (control.limit, control.ceiling) == (50, 100)
    for _ in range(CALM):
        control.observe(control.limit, 0.001 * control.limit)
    assert control.limit == 75  # half the way, while one size alone is known
    for _ in range(10 * CALM):
        control.observe(control.limit, 0.001 * control.limit)
    assert control.limit == 99  # where u is 0.099
    control.limit = 1
    control.exhausted(1)
    assert control.limit == 1


def test_a_limit_that_does_not_bind_does_not_grow() -> None:
    control = MemoryControl()
    control.limit = 64
    for _ in range(20):
        control.observe(10, 0.1, bound=False)
    assert control.limit == 64


def test_passes_that_measure_have_a_line_of_their_own() -> None:
    control = MemoryControl()
    control.limit = 100
    for size in (50, 100):
        control.observe(size, 0.1 + 0.001 * size, bound=False)
        control.observe(size, 0.1 + 0.004 * size, kind="measured", bound=False)
    assert control.line("plain") == pytest.approx((0.1, 0.001))
    assert control.line("measured") == pytest.approx((0.1, 0.004))
    assert control.best == 200  # (1 - 0.1 - 0.1) / 0.004


@pytest.mark.parametrize("wrong", [{"low": 0.95}, {"margin": 0.5}, {"margin": 0.05}, {"high": 1.0}])
def test_thresholds_that_never_come_to_rest_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="0 < low < 1 - margin <= high < 1 is expected"):
        MemoryControl(**wrong)


def test_the_sheets_rule_follows_the_same_limit() -> None:
    rule, rows = MemoryBased(initial=16), [16]
    for step in range(1, 40):
        used = 0.1 + 0.002 * rows[-1]
        rule.observe(seen(100 * step, {Stat.MEMORY_USED: used if used <= 1 else math.inf}, size=rows[-1]))
        rows.append(int(wish(rule)))
    assert rows[-1] == 400  # (0.9 - 0.1) / 0.002
    assert rows == sorted(rows)
    rule.observe(seen(5000, {Stat.MEMORY_USED: math.inf}, size=400))
    assert wish(rule) == 200


def test_the_first_step_is_not_looked_at() -> None:
    rule = MemoryBased(initial=64)
    rule.observe(seen(100, {Stat.MEMORY_USED: 0.99}, size=64))  # the optimiser allocates its state
    assert wish(rule) == 64
    rule.observe(seen(200, {Stat.MEMORY_USED: 0.99}, size=64))
    assert wish(rule) == 63
