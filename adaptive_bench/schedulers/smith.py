"""Rules that grow the batch where a schedule would decay the learning rate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation

Schedule = Callable[[Position], float]


@dataclass(kw_only=True)
class Smith(SizeScheduler):
    """B = initial / s: where the schedule s would multiply the learning rate by gamma, the size is divided by gamma instead.

    `schedule` is the run's own learning-rate schedule, a factor as a function of the position; it has to decay, or the size
    stays. With `lr_rule=smith` the learning rate is base * (B / initial) * s: constant while the size grows, and decaying as
    scheduled once the size is at its maximum. lr / B = base * s / initial for every granted size: the path that the
    schedule would take at the fixed size, and with it the noise scale lr * n / B of the updates. The paper covers plain and
    momentum SGD, Nesterov's and Adam.

    A schedule that warms up reaches its peak p before it decays: B = initial until then, initial * p / s after it (our
    reading; the paper's decay starts at 1). Where s rises again the size falls. s = 0 asks for the maximum.

    Source: Smith, Kindermans, Ying, Le 2018, arXiv 1711.00489.
    """

    schedule: Schedule
    peak: float = field(default=0.0, init=False)  # largest factor of a finished step

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.schedule, Stateful) and self.schedule.state_dict():
            raise ValueError(
                f"schedule={type(self.schedule).__name__}: it depends on what the run observes, so the size cannot take its "
                "place; take lr_schedule=cosine, multistep or another function of the position"
            )

    def observe(self, seen: Observation) -> None:
        start = Position(seen.position.samples - seen.shape.samples, seen.position.budget, seen.position.epoch_samples)
        self.peak = max(self.peak, self.schedule(start))

    def propose(self, position: Position) -> float:
        factor = self.schedule(position)
        if factor >= self.peak:
            return self.initial
        return self.initial * (self.peak / factor) if factor > 0 else math.inf


@dataclass(kw_only=True)
class Seesaw(Smith):
    """B = initial / s: where the schedule s would multiply the learning rate by a, it gets sqrt(a) and the size 1 / a.

    The size is that of `Smith`, with the same `schedule`. The other half of the method is `lr_rule=seesaw`:
    base * sqrt(B / initial) * s, which is base * sqrt(s) while the size grows and decays as s once the size is at its maximum.
    lr / sqrt(B) = base * s / sqrt(initial) for every granted size. Where s halves, the learning rate falls by sqrt(2) and the
    size doubles.

    The theory takes normalised SGD as a proxy of Adam where noise dominates the gradient, that is below the critical batch size:
    set the maximum accordingly. For plain SGD the invariant is lr / B, which is `smith`. The paper cuts its cosine into steps;
    here the size follows any schedule, smooth or stepped. The size stays at `initial` during a warm-up (our reading).

    Source: Meterez et al. 2025, arXiv 2510.14717.
    """
