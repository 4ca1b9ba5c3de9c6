"""The controls that need no earlier run: they follow a rule that sees nothing but the clock."""

import pandas as pd
import pytest

from adaptive_bench import schedulers
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.build import plan
from adaptive_bench.experiment.fingerprint import by_content
from adaptive_bench.experiment.recorded import recorded
from adaptive_bench.schedulers import (
    AdaBatch,
    Confidence,
    CriticalWarmup,
    Exponential,
    Linear,
    MeanMatched,
    Position,
    RandomBptt,
    Reversed,
    Shuffled,
    Smith,
    Step,
)  # fmt: skip
from adaptive_bench.schedulers.trajectory import Trajectory
from tests.conftest import composed
from tests.schedulers.test_controls import sizes_of

KINDS = (Shuffled, Reversed, MeanMatched)


def doubling() -> Exponential:
    """16, 32, 64, 128, 256, each for ten of fifty epochs."""
    return Exponential(initial=16, factor=2, interval=10)


def test_a_reversed_schedule_is_met_exactly_at_tenths_of_the_budget():
    scheduler, n = Reversed(schedule=doubling()), 997  # an epoch that no power of two divides
    for epoch, size in {0: 256, 10: 128, 20: 64, 30: 32, 40: 16}.items():
        assert scheduler.propose(Position(epoch * n, 50 * n, n)) == size
        assert scheduler.propose(Position((epoch + 10) * n - 1, 50 * n, n)) == size


@pytest.mark.parametrize("budget", [7, 99, 101, 300, 12_345])
def test_a_schedule_reversed_twice_is_the_schedule_at_hundredths_of_the_budget(budget):
    twice = Reversed(schedule=Reversed(schedule=doubling()))
    for first in {-(-share * budget // 100) for share in range(100)} - {budget}:
        here = Position(first, budget, max(1, budget // 50))
        assert twice.propose(here) == doubling().propose(here)


def test_a_share_that_begins_between_two_samples_begins_with_the_next():
    backwards = Reversed(schedule=Step(initial=8, milestones=[0.3, 0.7], sizes=[64, 32]))
    sizes = [backwards.propose(Position(samples, 1005, 1005)) for samples in range(1005)]  # borders at 301.5 and 703.5
    assert sizes == [32] * 302 + [64] * 402 + [8] * 301


def test_a_reversed_schedule_takes_the_updates_of_the_schedule():
    forwards = sizes_of(doubling(), budget=50_000, epoch=1000)
    backwards = sizes_of(Reversed(schedule=doubling()), budget=50_000, epoch=1000)
    assert abs(len(forwards) - len(backwards)) <= 40  # a step of 256 may reach over a border, and save 16 steps of 16
    assert (backwards[0], backwards[-2]) == (256, 16)


def test_a_shuffled_schedule_serves_each_share_once_in_the_order_of_the_seed():
    def served(seed: int) -> list[float]:
        scheduler = Shuffled(schedule=Linear(initial=1, increment=1), seed=seed)
        return [scheduler.propose(Position(share, 100, 1)) for share in range(100)]

    assert sorted(served(0)) == list(range(1, 101))
    assert served(0) == served(0) != served(1)
    # shares by ascending draw: the smallest three of random.Random(0)'s first hundred are its 41st, 36th and 53rd
    assert served(0)[:3] == [41, 36, 53]


@pytest.mark.parametrize(("match", "mean"), [("samples", 99.2), ("updates", 5 / (1 / 16 + 1 / 32 + 1 / 64 + 1 / 128 + 1 / 256))])
def test_the_mean_of_a_schedule(match, mean):
    scheduler = MeanMatched(schedule=doubling(), match=match)
    for samples in (0, 49_999):
        assert scheduler.propose(Position(samples, 50_000, 1000)) == pytest.approx(mean)
    assert mean == pytest.approx({"samples": 99.2, "updates": 41.29}[match], abs=0.001)


def test_the_mean_over_updates_takes_the_updates_of_the_schedule():
    updates = 10_000 / 16 + 10_000 / 32 + 10_000 / 64 + 10_000 / 128 + 10_000 / 256
    sizes = sizes_of(MeanMatched(schedule=doubling()), budget=50_000, epoch=1000)
    assert len(sizes) == pytest.approx(updates, rel=0.5 / 41)  # 41.29 is rounded to 41


def test_the_mean_of_a_schedule_that_asks_for_everything_is_the_maximum():
    endless = Exponential(initial=2, factor=10, interval=0.001)
    assert sizes_of(MeanMatched(schedule=endless, match="samples"))[0] == 300  # what the budget leaves of 1,000
    # the first of the hundred shares, at 2, takes all updates: 100 / (1 / 2)
    assert MeanMatched(schedule=endless).propose(Position(0, 300, 100)) == pytest.approx(200)


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_is_asked_about_the_run_at_hand_and_nothing_of_it_is_state(kind):
    scheduler = kind(schedule=doubling())
    short, long = Position(0, 1000, 100), Position(0, 5000, 100)  # ten epochs: 16 throughout; fifty: up to 256
    first = scheduler.propose(short)
    assert first == pytest.approx(16)
    scheduler.propose(long)
    assert scheduler.propose(short) == first
    assert scheduler.state_dict() == {}
    assert sum(scheduler.propose(Position(samples, 5000, 100)) for samples in range(5000)) > 5000 * 41


def test_the_range_of_the_control_clips_a_schedule_and_the_one_of_the_schedule_does_not():
    schedule = Exponential(initial=16, factor=2, interval=10, minimum=200, growth_cap=1.01, cooldown=30)
    sizes = sizes_of(Reversed(schedule=schedule), budget=50_000, epoch=1000, maximum=100)
    assert set(sizes[:-1]) == {100, 64, 32, 16}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, r"trace=None: a finished run is expected; or a schedule, which needs no run"),
        ({"trace": Trajectory.of([8], [8]), "schedule": Linear()}, "schedule=Linear: there is a trace as well"),
        ({"schedule": "exponential"}, "schedule='exponential': a SizeScheduler, or null is expected"),
        ({"schedule": Confidence()}, "schedule=Confidence: its sizes depend on what it observes"),
        ({"schedule": Smith(schedule=lambda position: 1.0)}, "schedule=Smith: its sizes depend on what it observes"),
    ],
)
def test_a_schedule_that_is_no_rule_of_the_clock_is_refused(kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(**settings)


def test_the_rules_of_the_clock_are_taken_as_schedules():
    for schedule in (Linear(), Step(), RandomBptt(seed=3), CriticalWarmup(), AdaBatch()):
        assert Reversed(schedule=schedule).propose(Position(0, 300, 100)) > 0


def test_the_class_that_the_controls_share_is_not_offered_as_one():
    assert not hasattr(schedulers, "Control")


def test_what_a_run_is_does_not_depend_on_where_it_looks_for_a_trace_that_it_does_not_use():
    def told(**changed):
        scheduler = {"trace": None, "results": "here", "column": "batch_size", "schedule": {"initial": 16}} | changed
        slots = {"scheduler": scheduler, "block_scheduler": {}}
        return by_content({"dataset": {}, **slots}, {"scheduler": recorded(scheduler, seed=0)})

    assert told() == told(results="there")
    assert told() != told(schedule={"initial": 32})
    with pytest.raises(ValueError, match=r"schedule\.trace=0a1b: a schedule sees nothing but the clock"):
        told(schedule={"trace": "0a1b"})


def test_a_run_takes_a_schedule_from_the_configurations(trained):
    folder = trained(
        *("model=mlp", "scheduler=reversed", "+scheduler@scheduler.schedule=exponential", "epochs=5"),
        *("scheduler.schedule.initial=10", "scheduler.schedule.factor=2"),
    )
    steps = pd.read_parquet(folder / "trace.parquet")
    # 200 samples an epoch: 160 twice, 80, 40, 20, 10 for an epoch each; the second 160 reaches 120 samples into the next
    assert steps["batch_size"].unique().tolist()[:5] == [160, 80, 40, 20, 10]


def test_a_control_of_the_configurations_takes_another_one_as_its_schedule(tmp_path):
    chosen = ("+scheduler@scheduler.schedule=mean_matched", "+scheduler@scheduler.schedule.schedule=linear")
    trainer = experiment(composed("model=mlp", "scheduler=reversed", *chosen, f"results={tmp_path}"))
    mean = MeanMatched(schedule=Linear()).propose(trainer.position)
    assert trainer.batch_size.scheduler.propose(trainer.position) == pytest.approx(mean)


def test_what_a_schedule_is_set_to_tells_cells_apart_and_the_seed_does_not(tmp_path):
    def cell(*changed):
        cfg = composed("scheduler=shuffled", "+scheduler@scheduler.schedule=random_bptt", f"results={tmp_path}", *changed)
        return plan(cfg, cfg.hydra).identity.cell

    assert cell("seed=0") == cell("seed=1") != cell("scheduler.schedule.sd=3")


def test_a_configuration_without_trace_and_schedule_is_refused_by_its_slot(tmp_path):
    cfg = composed("scheduler=mean_matched", f"results={tmp_path}")
    with pytest.raises(ValueError, match=r"^scheduler\.trace=None: a finished run is expected; or a schedule"):
        experiment(cfg)
