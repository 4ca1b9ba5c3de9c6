"""The path of lr / B is the schedule's, whatever sizes are granted."""

import math

import pytest

from adaptive_bench.learning_rate.schedules import Constant, Cosine, MultiStep
from adaptive_bench.schedulers import BatchShape, Observation, Position, SizeRange, Smith
from adaptive_bench.schedulers.smith import Schedule
from adaptive_bench.training.size_controller import SizeController

EPOCH, EPOCHS, BASE, FIRST = 1000, 10, 0.4, 64


def run(schedule: Schedule, **sizes: int) -> list[tuple[Position, int, float]]:
    """The position, size and learning rate of each step of a run under the linear rule."""
    slot = SizeController(scheduler=Smith(initial=FIRST, schedule=schedule), sizes=SizeRange(**sizes))
    steps, samples = [], 0
    while samples < EPOCH * EPOCHS:
        position = Position(samples, EPOCH * EPOCHS, EPOCH)
        size, _ = slot.advance(position)
        lr = BASE * slot.growth * schedule(position)
        steps.append((position, size, lr))
        shape = BatchShape(size).within(position.budget - samples)
        samples += shape.samples
        after = Position(samples, EPOCH * EPOCHS, EPOCH)
        slot.scheduler.observe(Observation(position=after, shape=shape, lr=lr, loss=1.0, stats={}, size=size))
    return steps


def test_the_size_grows_at_milestones_and_the_learning_rate_falls_only_at_the_maximum():
    steps = run(MultiStep(milestones=[2, 4, 6, 8], gamma=0.5), maximum=512)
    for position, size, lr in steps:
        passed = min(4, int(position.epoch) // 2)
        assert size == [64, 128, 256, 512, 512][passed]  # 1,024 at epoch 8 is above the maximum
        assert lr == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.2][passed], rel=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        MultiStep(milestones=[2, 4, 6, 8], gamma=0.5),
        MultiStep(milestones=[3, 6], gamma=0.3),  # 213.3 and 711.1: rounded sizes
        Cosine(),
        Cosine(warmup=2, start=0.1, final=0.01),
        lambda position: 0.1 + 0.9 * abs(math.cos(position.epoch)),  # falls and rises again
    ],
)
@pytest.mark.parametrize("multiple_of", [1, 32])
def test_the_ratio_of_learning_rate_to_size_is_that_of_the_schedule_at_the_fixed_size(schedule, multiple_of):
    for position, size, lr in run(schedule, maximum=512, multiple_of=multiple_of):
        assert lr / size == pytest.approx(BASE * schedule(position) / FIRST, rel=1e-12)


def test_cosine_makes_the_learning_rate_constant_up_to_rounding_until_the_maximum():
    growing = [lr for _, size, lr in run(Cosine(), maximum=512) if size < 512]
    assert len(growing) > 50
    assert growing == pytest.approx([0.4] * len(growing), rel=1 / 128)


def test_a_warm_up_is_no_decay():
    steps = run(Cosine(warmup=2, start=0.1), maximum=512)
    assert {size for position, size, _ in steps if position.epoch <= 2} == {64}
    assert steps[0][2] == pytest.approx(0.04)  # the warm-up of the learning rate stays
    assert max(size for _, size, _ in steps) == 512


def test_behind_a_warm_up_to_another_peak_the_size_is_initial_times_peak_over_schedule():
    factors = {0: 0.0, 100: 0.25, 200: 0.5, 300: 0.25, 400: 0.125, 500: 0.0, 600: 0.5}
    schedule = lambda position: factors[position.samples]  # noqa: E731
    scheduler, wishes = Smith(initial=64, schedule=schedule), []
    for samples in factors:
        wishes.append(scheduler.propose(Position(samples, 1000, 1000)))
        after = Position(samples + 100, 1000, 1000)
        scheduler.observe(Observation(position=after, shape=BatchShape(100), lr=0.1, loss=1.0, stats={}))
    assert wishes == [64, 64, 64, 128, 256, math.inf, 64]


def test_a_constant_schedule_leaves_the_size_alone():
    assert {size for _, size, _ in run(Constant(), maximum=512)} == {64}


def test_a_schedule_that_is_no_function_is_refused():
    with pytest.raises(ValueError, match=r"schedule=0\.1: a function is expected"):
        Smith(schedule=0.1)  # type: ignore[arg-type]
