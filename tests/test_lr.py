import math

import pytest

from adaptive_bench import lr_rules, lr_schedules
from adaptive_bench.size import Progress


def at(epoch: float, epochs: int = 10, n: int = 1000) -> Progress:
    return Progress(round(epoch * n), epochs * n, n)


def test_constant():
    assert lr_schedules.constant(at(3)) == 1


def test_cosine_without_warmup():
    values = [lr_schedules.cosine(at(epoch)) for epoch in (0, 2.5, 5, 7.5, 10)]
    half = math.sqrt(0.5) / 2
    assert values == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half, 0])


def test_cosine_with_warmup_and_a_final_level():
    curve = {epoch: lr_schedules.cosine(at(epoch), warmup=2, start=0.2, final=0.1) for epoch in (0, 1, 2, 6, 10)}
    assert curve == pytest.approx({0: 0.2, 1: 0.6, 2: 1.0, 6: 0.55, 10: 0.1})


def test_multistep():
    values = [lr_schedules.multistep(at(epoch), milestones=[2, 5], gamma=0.1) for epoch in (0, 1.999, 2, 4.999, 5, 9)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_adabatch_and_its_baseline_follow_the_same_lr_per_sample():
    """0.375 at a fixed batch, or 0.75 and twice the batch (Devarakonda et al. 2017): lr / B is the same."""
    for doublings in range(5):
        fixed = lr_schedules.staircase(at(20 * doublings, 100))
        grown = lr_schedules.staircase(at(20 * doublings, 100), gamma=0.75)
        assert grown / 2**doublings == pytest.approx(fixed)


@pytest.mark.parametrize("warmup", [-1, 10, 99])
def test_an_impossible_warmup_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup={warmup}"):
        lr_schedules.cosine(at(0), warmup=warmup)


@pytest.mark.parametrize("settings", [{"milestones": [3, 2]}, {"milestones": [2, 2]}, {"milestones": [2], "gamma": 0}])
def test_impossible_milestones_are_refused(settings):
    with pytest.raises(ValueError, match="ascending epochs"):
        lr_schedules.multistep(at(0), **settings)


def test_staircase():
    values = [lr_schedules.staircase(at(epoch), gamma=0.5) for epoch in (0, 1.999, 2, 9)]
    assert values == [1, 1, 0.5, 0.0625]
    assert lr_schedules.staircase(at(9), gamma=0.5, interval=3) == 0.125
    with pytest.raises(ValueError, match="gamma=0"):
        lr_schedules.staircase(at(0), gamma=0)


def test_rules():
    assert [rule(4.0) for rule in (lr_rules.none, lr_rules.linear, lr_rules.sqrt)] == [1, 4, 2]
