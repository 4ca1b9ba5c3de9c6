"""Controls one of the two sizes of a run: asks the scheduler, clips to the range, keeps to the cooldown."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position, SizeRange
from adaptive_bench.stats import Observation, Stat


@dataclass(kw_only=True)
class SizeController:
    """The batch size or the block size of a run, step by step. Limits that the range leaves open are the scheduler's."""

    scheduler: SizeScheduler
    sizes: SizeRange
    first: int | None = field(default=None, init=False)  # the size that the LR rules compare with
    size: int | None = field(default=None, init=False)
    changed: int = field(default=0, init=False)  # samples, of the last change
    started: int = field(default=0, init=False)  # samples, of the last step

    def __post_init__(self) -> None:
        suggested = asdict(self.scheduler.limits)
        self.sizes = replace(self.sizes, **{name: own for name, own in suggested.items() if getattr(self.sizes, name) is None})

    def advance(self, position: Position) -> tuple[int, float]:
        """Set the size for the step that starts at `position`; returns it and the size that the scheduler proposed."""
        proposed = self.scheduler.propose(position)
        size = self.peek(position)
        if self.first is None:
            self.first = size
        if size != self.size:
            # a step that reached into this epoch decided at the border: counted from its end, each wait would end a step later
            border = position.samples // position.epoch_samples * position.epoch_samples
            self.size, self.changed = size, border if self.started < border else position.samples
        self.started = position.samples
        return size, proposed

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
        """The statistics that the scheduler will read after the step that starts at `position` and has `samples` samples."""
        if self.scheduler.only_grows() and self.size == self.sizes.largest:
            return frozenset()  # no observation could change the size any more
        return self.scheduler.needs if self.scheduler.measures(position, samples) else frozenset()

    def observe(self, seen: Observation) -> None:
        self.scheduler.observe(replace(seen, size=self.size))

    def signals(self, position: Position) -> dict[str, float]:
        """The scheduler's signals for the step that starts at `position`, and the epochs left of the cooldown."""
        shown = self.scheduler.signals()
        return shown | {"cooling": self.cooling(position)} if shown or self.sizes.cooldown else shown

    def state_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("first", "size", "changed", "started")}
        return own | {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("first", "size", "changed", "started"):
            setattr(self, name, state[name])
        self.scheduler.load_state_dict(state["scheduler"])
