"""Seesaw: half of the decay goes to the learning rate, the rest to the batch size."""

from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.smith import Decay, Schedule, check_schedule
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation


@dataclass(kw_only=True)
class Seesaw(SizeScheduler):
    """B = initial / s: where the schedule s would multiply the learning rate by a, it gets sqrt(a) and the size 1 / a.

    `schedule` is the run's own learning-rate schedule, a factor as a function of the position; it has to decay, or the size
    stays. The size is that of `smith`; the method's other half is `lr_rule=seesaw`: base * sqrt(B / initial) * s, which is
    base * sqrt(s) while the size grows and decays as s once the size is at its maximum. lr / sqrt(B) = base * s / sqrt(initial),
    whatever size was granted. For s that halves, the learning rate falls by sqrt(2) as the size doubles.

    The theory takes normalised SGD as a proxy of Adam where noise dominates the gradient, that is below the critical batch size:
    set the maximum accordingly. For plain SGD the invariant is lr / B, which is `smith`. The paper cuts its cosine into steps;
    here the size follows any schedule, smooth or stepped. Warm-up as in `smith`: B = initial up to the peak (our reading).

    Source: Meterez et al. 2025, arXiv 2510.14717.
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
