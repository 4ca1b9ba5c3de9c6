"""Where the schedule multiplies the learning rate by a, it gets sqrt(a) and the size 1 / a."""

import math

import pytest

from adaptive_bench.learning_rate.schedules import Cosine, MultiStep
from adaptive_bench.schedulers import BatchShape, Observation, Position, Seesaw, SizeRange
from adaptive_bench.schedulers.smith import Schedule
from adaptive_bench.training.size_controller import SizeController

EPOCH, EPOCHS, BASE, FIRST = 1000, 10, 0.4, 64


def run(schedule: Schedule, **sizes: int) -> list[tuple[Position, int, float]]:
    """The position, size and learning rate of each step of a run under the square-root rule."""
    slot = SizeController(scheduler=Seesaw(initial=FIRST, schedule=schedule), sizes=SizeRange(**sizes))
    steps, samples = [], 0
    while samples < EPOCH * EPOCHS:
        position = Position(samples, EPOCH * EPOCHS, EPOCH)
        size, _ = slot.advance(position)
        lr = BASE * math.sqrt(slot.growth) * schedule(position)
        steps.append((position, size, lr))
        shape = BatchShape(size).within(position.budget - samples)
        samples += shape.samples
        after = Position(samples, EPOCH * EPOCHS, EPOCH)
        slot.scheduler.observe(Observation(position=after, shape=shape, lr=lr, loss=1.0, stats={}, size=size))
    return steps


def test_a_quarter_of_the_learning_rate_becomes_half_of_it_and_four_times_the_size():
    for position, size, lr in run(MultiStep(milestones=[2, 4, 6], gamma=0.25), maximum=1024):
        passed = min(3, int(position.epoch) // 2)
        assert size == [64, 256, 1024, 1024][passed]
        assert lr == pytest.approx([0.4, 0.2, 0.1, 0.025][passed], rel=1e-12)  # at the maximum, the schedule's own quarter


@pytest.mark.parametrize("schedule", [MultiStep(milestones=[3, 6], gamma=0.3), Cosine(warmup=2)])
def test_the_ratio_of_learning_rate_to_root_of_size_is_that_of_the_schedule_at_the_fixed_size(schedule):
    for position, size, lr in run(schedule, maximum=512, multiple_of=8):
        assert lr / math.sqrt(size) == pytest.approx(BASE * schedule(position) / math.sqrt(FIRST), rel=1e-12)


def test_a_warm_up_is_no_decay():
    steps = run(Cosine(warmup=2), maximum=512)
    assert {size for position, size, _ in steps if position.epoch <= 2} == {64}
    assert max(size for _, size, _ in steps) == 512


def test_a_schedule_that_is_no_function_is_refused():
    with pytest.raises(ValueError, match="schedule='cosine': a function is expected"):
        Seesaw(schedule="cosine")  # type: ignore[arg-type]
