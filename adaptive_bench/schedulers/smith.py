"""Do not decay the learning rate, increase the batch size."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation

Schedule = Callable[[Position], float]


@dataclass(kw_only=True)
class Decay(Stateful):
    """How far a schedule s of the learning rate has come down from its peak, so that a warm-up is no decay."""

    peak: float = field(default=0.0, init=False)  # largest factor of a finished step

    def observe(self, schedule: Schedule, seen: Observation) -> None:
        """Take note of the factor that the step `seen` was taken with."""
        start = Position(seen.position.samples - seen.shape.samples, seen.position.budget, seen.position.epoch_samples)
        self.peak = max(self.peak, schedule(start))

    def inverse(self, factor: float) -> float:
        """peak / factor: 1 up to the peak, infinite where the factor is 0."""
        if factor >= self.peak:
            return 1.0
        return self.peak / factor if factor > 0 else math.inf


def check_schedule(schedule: Schedule) -> None:
    """Raises ValueError for what is no function of the position alone."""
    if isinstance(schedule, Stateful) and schedule.state_dict():
        raise ValueError(
            f"schedule={type(schedule).__name__}: it depends on what the run observes, so the size cannot take its place; "
            "take lr_schedule=cosine, multistep or another function of the position"
        )
    if not callable(schedule):
        raise ValueError(f"schedule={schedule!r}: a function of the position is expected, as in lr_schedules")


@dataclass(kw_only=True)
class Smith(SizeScheduler):
    """B = initial / s: where the schedule s would multiply the learning rate by gamma, the size is divided by gamma instead.

    `schedule` is the run's own learning-rate schedule, a factor as a function of the position; it has to decay, or the size
    stays. With `lr_rule=smith` the learning rate is base * (B / initial) * s: constant while the size grows, and decaying as
    scheduled once the size is at its maximum. lr / B = base * s / initial, whatever size was granted: the path that the
    schedule would take at the fixed size, and with it the noise scale lr * n / B of the updates. Plain and momentum SGD,
    Nesterov's and Adam are in the paper.

    A schedule that warms up reaches its peak p before it decays: B = initial until then, initial * p / s after it (our
    reading; the paper's decay starts at 1). Where s rises again the size falls. s = 0 asks for the maximum.

    Source: Smith, Kindermans, Ying, Le 2018, arXiv 1711.00489.
    """

    schedule: Schedule
    decay: Decay = field(default_factory=Decay, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_schedule(self.schedule)

    def observe(self, seen: Observation) -> None:
        self.decay.observe(self.schedule, seen)

    def propose(self, position: Position) -> float:
        return self.initial * self.decay.inverse(self.schedule(position))
