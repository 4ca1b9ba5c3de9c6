"""One of the run's two sizes: the scheduler that wishes, the range that grants, and the size that holds."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position, SizeRange
from adaptive_bench.stats import Observation, Stat


@dataclass(kw_only=True)
class SizeController:
    """`cooldown` and `growth_cap` of the range go before what the scheduler asks for."""

    scheduler: SizeScheduler
    sizes: SizeRange
    first: int | None = field(default=None, init=False)  # what the LR rules measure the size against
    size: int | None = field(default=None, init=False)
    changed: int = field(default=0, init=False)  # samples, of the last change

    def __post_init__(self) -> None:
        if self.sizes.cooldown is None:
            self.sizes = replace(self.sizes, cooldown=self.scheduler.cooldown)
        if self.sizes.growth_cap is None:
            self.sizes = replace(self.sizes, growth_cap=self.scheduler.growth_cap)

    def advance(self, position: Position) -> tuple[int, float]:
        """Set the size for the step that starts at `position`; returns it and what the scheduler wished for."""
        wish = self.scheduler.propose(position)
        size = self.peek(position)
        if self.first is None:
            self.first = size
        if size != self.size:
            self.size, self.changed = size, position.samples
        return size, wish

    def peek(self, position: Position) -> int:
        """The size that `advance` would set."""
        if self.size is not None and self.cooling(position) > 0:
            return self.size
        return self.sizes.grant(self.scheduler.propose(position), self.size)

    def cooling(self, position: Position) -> float:
        """Epochs until the size may change again."""
        # a whole number of samples: in floats, five tenths of an epoch can end a step late
        wait = math.ceil((self.sizes.cooldown or 0) * position.epoch_samples - 1e-6)
        return max(0.0, (self.changed + wait - position.samples) / position.epoch_samples)

    @property
    def growth(self) -> float:
        """Size over first size; 1 before the first step."""
        return self.size / self.first if self.size and self.first else 1.0

    def needs(self, position: Position, samples: int) -> frozenset[Stat]:
        """The statistics that the scheduler will look at behind the step of so many samples that starts at `position`."""
        if self.scheduler.only_grows() and self.size == self.sizes.largest:
            return frozenset()  # it has arrived: nothing it could see would change the size
        return self.scheduler.needs if self.scheduler.measures(position, samples) else frozenset()

    def observe(self, seen: Observation) -> None:
        self.scheduler.observe(replace(seen, size=self.size))

    def signals(self, position: Position) -> dict[str, float]:
        """The scheduler's reasons for the size of the step that starts at `position`, and the epochs it still has to wait."""
        shown = self.scheduler.signals()
        return shown | {"cooling": self.cooling(position)} if shown or self.sizes.cooldown else shown

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "size": self.size, "changed": self.changed, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.size, self.changed = state["first"], state["size"], state["changed"]
        self.scheduler.load_state_dict(state["scheduler"])
