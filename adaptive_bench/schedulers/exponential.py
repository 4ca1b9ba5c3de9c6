"""Growth by a factor at fixed intervals."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, power
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Growth, Positive


@dataclass(kw_only=True)
class Exponential(SizeScheduler):
    """B_i = initial * factor^i after i intervals.

    `interval` is in epochs; None stands for a fifth of the budget. The power is taken of the real value, not of a rounded size,
    so rounding errors do not add up: 16 with factor 2 every 10 epochs is 16, 32, 64, 128, 256. A factor below 1 shrinks the
    size, down to 1.

    Source: lab sheet, strategy 2.
    """

    factor: Positive = 1.1
    interval: Positive | None = 1  # epochs; None: a fifth of the budget

    def propose(self, position: Position) -> float:
        return max(1.0, self.initial * power(self.factor, position.completed(self.interval)))


@dataclass(kw_only=True)
class AdaBatch(Exponential):
    """B_i = initial * 2^i after i intervals of a fifth of the budget.

    The paper doubles every 20 of 100 epochs. The other half of the method is a learning-rate schedule, a factor of 0.75 at each
    doubling (0.375 in the paper's fixed baseline): `lr_schedule=staircase lr_schedule.gamma=0.75`.

    Source: Devarakonda, Naumov, Garland 2017, arXiv 1712.02029.
    """

    factor: Growth = 2  # it only grows
    interval: Positive | None = None
