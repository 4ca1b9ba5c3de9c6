"""Hand-made observations."""

import math
from collections.abc import Mapping

from adaptive_bench.schedulers import BatchShape, Observation, Position, SizeScheduler, Stat

EPOCH, BUDGET = 1000, 20_000


def seen(
    samples: int,
    stats: Mapping[Stat, float] | None = None,
    *,
    batch: int = 100,
    size: int | None = None,
    loss: float = 1.0,
    lr: float = 0.1,
    evaluation: float | None = None,
    seconds: float = math.nan,
) -> Observation:
    """The step of `batch` samples that ends at `samples`, in epochs of 1,000 and a budget of 20."""
    position, shape = Position(samples, BUDGET, EPOCH), BatchShape(batch)
    return Observation(
        position=position, shape=shape, lr=lr, loss=loss, stats=stats or {}, size=size, evaluation=evaluation, seconds=seconds
    )


def wish(scheduler: SizeScheduler, samples: int = 0) -> float:
    return scheduler.propose(Position(samples, BUDGET, EPOCH))
