"""Trajectories: the sizes of a recorded run or of a rule of the clock, which the controls replay and alter."""

import hashlib
import sys
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position

SHARES = 100  # equal ones of the budget, at whose starts a schedule is asked for its size


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run in pieces, each of one size: the steps of a recorded run, or equal shares of a planned one.

    `samples` and `updates` say how much of the run a piece is; those of a planned run are only in proportion to each other.
    `cut`: the budget's end left a part of the last step, which then counts as less than one update. `family` is a digest of the
    trajectories, one a seed, from which this one was chosen: runs that differ only in the seed's choice are of one arm.
    """

    sizes: tuple[float, ...]
    samples: tuple[int, ...]
    updates: tuple[float, ...]
    starts: tuple[int, ...]
    cut: bool
    family: str = ""

    @classmethod
    def of(cls, sizes: Sequence[float], samples: Sequence[int], *, left: float = 1.0) -> "Trajectory":
        """Steps of these sizes and samples; `left` is the part of the last one that the budget's end left, 0 to 1."""
        return cls.pieces(sizes, samples, (*[1.0] * (len(sizes) - 1), left), cut=left < 1)

    @classmethod
    def pieces(cls, sizes: Sequence[float], samples: Sequence[int], updates: Sequence[float], *, cut: bool) -> "Trajectory":
        return cls(tuple(sizes), tuple(samples), tuple(updates), (0, *accumulate(samples[:-1])), cut)

    @property
    def total(self) -> int:
        """Samples of the whole run."""
        return self.starts[-1] + self.samples[-1]

    def sample_at(self, position: Position) -> int:
        """The trajectory's sample at the same share of the budget. In integers: at equal budgets it is the run's own."""
        return position.samples * self.total // position.budget

    def at(self, position: Position) -> float:
        """The size of the piece that covers the same share of the budget."""
        return self.sizes[bisect_right(self.starts, self.sample_at(position)) - 1]

    def whole(self) -> int:
        """How many pieces there are that the budget did not cut."""
        return len(self.sizes) - self.cut

    def ordered(self, order: Sequence[int]) -> "Trajectory":
        """The whole pieces in another order; one that the budget cut stays last, where a budget cuts."""
        order = [*order, *range(self.whole(), len(self.sizes))]
        return self.pieces(
            [self.sizes[i] for i in order], [self.samples[i] for i in order], [self.updates[i] for i in order], cut=self.cut
        )

    def digest(self) -> str:
        """Of sizes and samples, or of the family: a rerun of the recorded run writes other seconds and the same digest."""
        return self.family or hashlib.sha256(repr((self.sizes, self.samples)).encode()).hexdigest()[:16]


@dataclass(kw_only=True)
class Control(SizeScheduler):
    """The trajectory of a finished run, or of a rule that sees nothing but the clock, after an alteration.

    How many samples the budget has is known at the first step; the trajectory of a schedule is made then.
    """

    trace: Trajectory | None = None
    schedule: SizeScheduler | None = None  # instead of a trace

    def __post_init__(self) -> None:
        super().__post_init__()
        self._altered: dict[tuple[int, int], Trajectory] = {}  # by budget and epoch; kept for speed, no state
        if self.trace is None and self.schedule is None:
            raise ValueError(
                "trace=None: a finished run is expected; or a schedule, which needs no run, as in "
                "+scheduler@scheduler.schedule=exponential"
            )
        if self.trace is not None and self.schedule is not None:
            raise ValueError(
                f"schedule={type(self.schedule).__name__}: there is a trace as well, one of the two is expected; leave one null"
            )
        if self.schedule is not None:
            _refuse_feedback(self.schedule)

    @abstractmethod
    def altered(self, path: Trajectory) -> Trajectory:
        """The altered trajectory."""

    def propose(self, position: Position) -> float:
        run = position.budget, position.epoch_samples
        if run not in self._altered:
            path = planned_trajectory(self.schedule, position) if self.schedule else self.trace
            assert path is not None, "one of the two was given"
            self._altered[run] = self.altered(path)
        return self._altered[run].at(position)


def planned_trajectory(schedule: SizeScheduler, position: Position) -> Trajectory:
    """The sizes that a rule of the clock proposes over a run of this budget, at the starts of its shares."""
    budget, epoch = position.budget, position.epoch_samples
    # the first sample of each share: one rounded down would still be in the share before
    starts = [-(-share * budget // SHARES) for share in range(SHARES)]
    proposed = [schedule.propose(Position(start, budget, epoch)) for start in starts]
    sizes = [min(size, sys.float_info.max) for size in proposed]  # an infinite size has no mean
    return Trajectory.pieces(sizes, [1] * SHARES, [1 / size for size in sizes], cut=False)


def _refuse_feedback(schedule: SizeScheduler) -> None:
    if type(schedule).observe is not SizeScheduler.observe:
        raise ValueError(
            f"schedule={type(schedule).__name__}: its sizes depend on what it observes, and a schedule may see nothing but the "
            "clock; train a run of it and give that run as trace"
        )
