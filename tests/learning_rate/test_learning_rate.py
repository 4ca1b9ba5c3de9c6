import json
import math
import random
from dataclasses import replace

import pytest
import torch

from adaptive_bench.learning_rate import rules, schedules
from adaptive_bench.schedulers import BatchShape, Observation, Seesaw, Smith, Stat
from adaptive_bench.sizes import Position


def at(epoch: float, epochs: int = 10, n: int = 1000) -> Position:
    return Position(round(epoch * n), epochs * n, n)


def test_constant():
    assert schedules.Constant()(at(3)) == 1


def test_cosine_without_warmup():
    values = [schedules.Cosine()(at(epoch)) for epoch in (0, 2.5, 5, 7.5, 10)]
    half = math.sqrt(0.5) / 2
    assert values == pytest.approx([1, 0.5 + half, 0.5, 0.5 - half, 0])


def test_cosine_with_warmup_and_a_final_level():
    curve = {epoch: schedules.Cosine(warmup=2, start=0.2, final=0.1)(at(epoch)) for epoch in (0, 1, 2, 6, 10)}
    assert curve == pytest.approx({0: 0.2, 1: 0.6, 2: 1.0, 6: 0.55, 10: 0.1})


def test_multistep():
    values = [schedules.MultiStep(milestones=[2, 5], gamma=0.1)(at(epoch)) for epoch in (0, 1.999, 2, 4.999, 5, 9)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_adabatch_and_its_baseline_follow_the_same_lr_per_sample():
    """0.375 at a fixed batch, or 0.75 and twice the batch (Devarakonda et al. 2017): lr / B is the same."""
    for doublings in range(5):
        fixed = schedules.Staircase()(at(20 * doublings, 100))
        grown = schedules.Staircase(gamma=0.75)(at(20 * doublings, 100))
        assert grown / 2**doublings == pytest.approx(fixed)


@pytest.mark.parametrize("warmup", [-1, 10, 99])
def test_an_impossible_warmup_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup={warmup}"):
        schedules.Cosine(warmup=warmup)(at(0))


@pytest.mark.parametrize("settings", [{"milestones": [3, 2]}, {"milestones": [2, 2]}, {"milestones": [2], "gamma": 0}])
def test_impossible_milestones_are_refused(settings):
    with pytest.raises(ValueError, match=r"ascending epochs|gamma=0: a finite number above 0"):
        schedules.MultiStep(**settings)(at(0))


def test_staircase():
    values = [schedules.Staircase(gamma=0.5)(at(epoch)) for epoch in (0, 1.999, 2, 9)]
    assert values == [1, 1, 0.5, 0.0625]
    assert schedules.Staircase(gamma=0.5, interval=3)(at(9)) == 0.125
    with pytest.raises(ValueError, match="gamma=0"):
        schedules.Staircase(gamma=0)(at(0))


def test_multistep_warms_up_first():
    schedule = schedules.MultiStep(milestones=[2, 5], gamma=0.2, warmup=1, start=0)
    assert [schedule(at(epoch)) for epoch in (0, 0.25, 0.5, 1, 1.5, 2, 5)] == pytest.approx([0, 0.25, 0.5, 1, 1, 0.2, 0.04])
    with pytest.raises(ValueError, match="warmup=10: from 0 up to less than the budget of 10 epochs"):
        schedules.MultiStep(milestones=[1], warmup=10)(at(0))


def test_rules():
    kinds = (rules.Unchanged, rules.Linear, rules.Sqrt, rules.Smith, rules.Seesaw)
    assert [kind().factor(4.0) for kind in kinds] == [1, 4, 2, 4, 2]


def measured(sq_norm: float, variance: float, *, batch: int = 100, samples: int = 100) -> Observation:
    stats = {Stat.GRAD_SQ_NORM: sq_norm, Stat.GRAD_VARIANCE: variance}
    return Observation(position=Position(samples, 9000, 1000), shape=BatchShape(batch), lr=0.1, loss=1.0, stats=stats)


def test_adascale_gains_what_the_noise_allows():
    rule = rules.AdaScale()
    assert rule.factor(4.0) == 1  # nothing is known yet
    # B_simple = 600 / 2 = 300, phi = 300 / 100 = 3: r = (3 + 1) / (3 / 4 + 1)
    rule.observe(measured(2.0, 600.0))
    assert rule.factor(4.0) == pytest.approx(4 / 1.75)
    assert rule.factor(1.0) == 1
    # the published form: (sigma^2 + mu^2) / (sigma^2 / S + mu^2), sigma^2 = tr(Sigma) / B_0, mu^2 = |G|^2
    assert rule.factor(4.0) == pytest.approx((600 / 100 + 2) / (600 / 100 / 4 + 2))


def test_adascale_counts_in_samples_where_blocks_change():
    # rows of 10 tokens, 100 of them: B_simple is 400 rows, phi = 4,000 / 1,000 tokens
    rule = rules.AdaScale(half_life=0)
    first = measured(2.0, 800.0, samples=1000)
    rule.observe(replace(first, shape=BatchShape(100, 10)))
    assert rule.factor(2.0) == pytest.approx(5 / 3)
    # blocks of 20 average twice as many independent tokens a row: 200 rows, and the gain is the same
    rule.observe(replace(measured(2.0, 400.0, samples=3000), shape=BatchShape(100, 20)))
    assert rule.factor(2.0) == pytest.approx(5 / 3)


def test_adascale_between_no_noise_and_nothing_but_noise():
    still, noisy = rules.AdaScale(), rules.AdaScale()
    still.observe(measured(2.0, 0.0))
    noisy.observe(measured(-0.1, 600.0))
    assert still.factor(8.0) == 1
    assert noisy.factor(8.0) == 8


def test_adascale_measures_once_in_so_many_samples():
    rule = rules.AdaScale(measure_every=500)
    assert [rule.measures(Position(samples, 9000, 1000), 100) for samples in (0, 100, 400, 450, 500)] == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_a_half_life_below_zero_is_refused():
    with pytest.raises(ValueError, match="half_life=-1"):
        rules.AdaScale(half_life=-1)


ZAREMBA = {"small": (4, 0.5), "medium": (6, 0.8), "large": (14, 1 / 1.15)}


@pytest.mark.parametrize(("constant", "decay"), ZAREMBA.values(), ids=ZAREMBA)
def test_zaremba_decays_in_every_epoch_behind_the_constant_ones(constant, decay):
    schedule = schedules.Zaremba(constant=constant, decay=decay)
    for epoch in range(20):  # TensorFlow's reference: decay ** max(epoch + 1 - constant, 0)
        for share in (0, 0.5, 0.999):
            position = Position(round(1000 * (epoch + share)), 20_000, 1000)
            assert schedule(position) == pytest.approx(decay ** max(epoch + 1 - constant, 0))


@pytest.mark.parametrize("setting", [{"constant": -1}, {"decay": 0}, {"decay": 1.5}, {"constant": math.nan}])
def test_an_impossible_zaremba_is_refused(setting):
    with pytest.raises(ValueError, match=r"(constant|decay)=.*: a finite number"):
        schedules.Zaremba(**setting)


def evaluated(loss: float | None) -> Observation:
    return Observation(
        position=Position(100, 9000, 1000), shape=BatchShape(100), lr=0.1, loss=1.0, stats={},
        evaluation=None if loss is None else -math.exp(loss), validation_loss=loss,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("cooldown", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_plateau_is_torchs_reduce_lr_on_plateau(mode, cooldown, seed):
    rng = random.Random(seed)
    losses = [5 * 0.9**step + 1 + rng.uniform(-0.05, 0.05) for step in range(80)]
    settings = {"factor": 0.5, "patience": 1, "threshold": 0.01, "cooldown": cooldown}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, threshold_mode="rel" if mode == "relative" else "abs", min_lr=1e-3, eps=0, **settings
    )
    ours, factors, expected = schedules.Plateau(threshold_mode=mode, minimum=1e-3, **settings), [], []
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
        ours.observe(evaluated(loss))
        ours.observe(evaluated(None))
        kept = schedules.Plateau(threshold_mode=mode, minimum=1e-3, **settings)  # stopped and resumed at every evaluation
        kept.load_state_dict(json.loads(json.dumps(ours.state_dict())))
        ours = kept
        factors.append(ours(Position(0, 100, 10)))
    assert expected[-1] == 1e-3
    assert factors == expected


@pytest.mark.parametrize("setting", [{"factor": 1}, {"factor": 0}, {"minimum": 2}, {"cooldown": -1}, {"patience": 0.5}])
def test_an_impossible_plateau_is_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}="):
        schedules.Plateau(**setting)


@pytest.mark.parametrize("kind", [Smith, Seesaw])
def test_a_size_cannot_take_the_place_of_a_schedule_that_waits_for_the_run(kind):
    with pytest.raises(ValueError, match="schedule=Plateau: it depends on what the run observes"):
        kind(schedule=schedules.Plateau())
