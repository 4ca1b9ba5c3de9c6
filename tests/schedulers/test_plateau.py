"""Growth where the validation metric stalls, step by step as in torch's ReduceLROnPlateau."""

import math
import random

import pytest
import torch

from adaptive_bench.schedulers import BatchShape, Observation, Plateau, Position


def path(scheduler: Plateau, evaluations: list[float | None], *, most: float = math.inf) -> list[float]:
    """The wish behind each step; what is wished for is granted, up to `most`."""
    wishes = []
    for step, evaluation in enumerate(evaluations, start=1):
        position = Position(100 * step, 100_000, 1000)
        granted = round(min(scheduler.propose(position), most))
        scheduler.observe(
            Observation(position=position, shape=BatchShape(100), lr=0.1, loss=1.0, stats={}, evaluation=evaluation, size=granted)
        )
        wishes.append(scheduler.propose(position))
    return wishes


def test_it_grows_at_the_evaluation_after_the_patience_and_counts_anew():
    stalled = [0.5, 0.5, 0.4, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6]
    assert path(Plateau(initial=10), stalled) == [10, 10, 10, 20, 20, 20, 40, 40, 40, 40, 80]


def test_an_improvement_starts_the_count_anew():
    assert path(Plateau(initial=10, patience=1), [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3]) == [10] * 6 + [20]


def test_without_patience_every_evaluation_that_is_no_improvement_grows():
    assert path(Plateau(initial=10, patience=0, factor=1.5), [0.5, 0.5, 0.5, 0.5]) == [10, 15, 22.5, 33]  # 22.5 is granted as 22


def test_steps_without_an_evaluation_do_not_count():
    assert path(Plateau(initial=10, patience=1), [0.5, None, None, 0.5, None, 0.5, None]) == [10] * 5 + [20, 20]


@pytest.mark.parametrize(
    ("mode", "best", "value", "improves"),
    [
        ("relative", 0.5, 0.54, False),  # 10 % of 0.5 is 0.05
        ("relative", 0.5, 0.56, True),
        ("relative", -100.0, -91.0, False),  # a perplexity of 100 has to fall below 90
        ("relative", -100.0, -89.0, True),
        ("relative", -100.0, -109.0, False),
        ("relative", 0.0, 0.001, True),
        ("absolute", 0.5, 0.59, False),
        ("absolute", 0.5, 0.61, True),
        ("absolute", -100.0, -99.95, False),
        ("absolute", -100.0, -99.85, True),
    ],
)
def test_threshold(mode, best, value, improves):
    scheduler = Plateau(initial=10, patience=0, threshold=0.1, threshold_mode=mode)
    assert path(scheduler, [best, value]) == [10, 10 if improves else 20]


def test_evaluations_that_are_not_finite_are_no_improvement():
    scheduler = Plateau(initial=10, patience=0)
    assert path(scheduler, [math.nan, -math.inf, 0.5, 0.6]) == [20, 40, 40, 40]
    assert scheduler.signals() == {"best": 0.6, "stalled_evaluations": 0.0}


def test_growth_starts_from_the_size_that_was_granted():
    assert path(Plateau(initial=10, patience=0), [0.5, 0.4, 0.4, 0.4], most=15) == [10, 20, 30, 30]


@pytest.mark.parametrize("mode", ["relative", "absolute"])
@pytest.mark.parametrize("seed", range(5))
def test_it_changes_where_torch_changes(mode, seed):
    rng = random.Random(seed)
    metrics = [round(1 - 0.9**step + rng.uniform(-0.05, 0.05), 3) + 1 for step in range(60)]  # above 0: torch's relative means it
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=0.5,
        patience=2,
        threshold=0.01,
        threshold_mode="rel" if mode == "relative" else "abs",
        eps=0,
    )
    expected = []
    for metric in metrics:
        theirs.step(metric)
        expected.append(1 / optimizer.param_groups[0]["lr"])
    assert expected[-1] > 1
    assert path(Plateau(initial=1, threshold=0.01, threshold_mode=mode), list(metrics)) == expected


def test_nothing_is_known_at_first():
    assert math.isnan(Plateau().signals()["best"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"factor": 1}, "factor=1: a finite number above 1"),
        ({"factor": math.inf}, "factor=inf"),
        ({"patience": -1}, "patience=-1"),
        ({"patience": 1.5}, "patience=1.5"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"threshold_mode": "rel"}, "threshold_mode='rel': relative or absolute is expected"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        Plateau(**settings)
