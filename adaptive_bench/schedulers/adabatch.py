"""AdaBatch: doubling at fixed intervals."""

from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, power
from adaptive_bench.sizes import Position
from adaptive_bench.validation import positive


@dataclass(kw_only=True)
class AdaBatch(SizeScheduler):
    """B_i = initial * factor^i after i intervals.

    The paper doubles every 20 of 100 epochs; `interval=None` takes that fifth of the budget whatever the budget is.
    The method's other half, a learning rate times 0.75 at each doubling (its fixed baseline takes 0.375), is a schedule
    of the learning rate: `lr_schedule=staircase lr_schedule.gamma=0.75`.

    Source: Devarakonda, Naumov, Garland 2017, arXiv 1712.02029.
    """

    factor: float = 2
    interval: float | None = None  # epochs; None: a fifth of the budget

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.factor >= 1:
            raise ValueError(f"factor={self.factor}: AdaBatch only grows, a factor from 1 up is expected")
        positive("factor", self.factor)
        if self.interval is not None:
            positive("interval", self.interval)

    def propose(self, position: Position) -> float:
        return self.initial * power(self.factor, position.completed(self.interval))
