"""One of the run's two sizes: the scheduler that wishes, the range that grants, and the size that holds."""

from dataclasses import dataclass, field
from typing import Any

from adaptive_bench.schedulers.base import SizeScheduler, Stat
from adaptive_bench.size import Progress, SizeRange


@dataclass(kw_only=True)
class Slot:
    scheduler: SizeScheduler
    sizes: SizeRange
    first: int | None = field(default=None, init=False)  # what the LR rules measure the size against
    size: int | None = field(default=None, init=False)

    def advance(self, progress: Progress) -> tuple[int, float]:
        """Set the size for the step that starts at `progress`; returns it and what the scheduler wished for."""
        wish = self.scheduler.propose(progress)
        self.size = self.peek(progress)
        if self.first is None:
            self.first = self.size
        return self.size, wish

    def peek(self, progress: Progress) -> int:
        """The size that `advance` would set."""
        return self.sizes.grant(self.scheduler.propose(progress), self.size)

    @property
    def growth(self) -> float:
        """Size over first size; 1 before the first step."""
        return self.size / self.first if self.size and self.first else 1.0

    def needs(self, progress: Progress) -> frozenset[Stat]:
        """The statistics that the scheduler will look at behind the step that starts at `progress`."""
        if self.scheduler.only_grows() and self.size == self.sizes.largest:
            return frozenset()  # it has arrived: nothing it could see would change the size
        return self.scheduler.needs if self.scheduler.measures(progress) else frozenset()

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.first, "size": self.size, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first, self.size = state["first"], state["size"]
        self.scheduler.load_state_dict(state["scheduler"])
