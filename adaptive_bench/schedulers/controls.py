"""The controls: how much of a method's gain remains without its feedback, its order, its direction or its path."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.trajectory import Control, Trajectory
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Whole


@dataclass(kw_only=True)
class Replay(SizeScheduler):
    """B = the size that a recorded run had at the same share of its budget: its trajectory, without its feedback.

    On another seed, the gain of the original over its replay is the value of its feedback. At equal budgets and unchanged limits
    the sizes are the recorded ones, step by step. They are the granted sizes, even where the end of a text or of the budget cut
    a step. A run that diverged is replayed up to there, stretched over the whole budget. `initial` has no effect.

    `trace` is the trajectory that `experiment.recorded.read_trajectory` reads. In a configuration it is the digest of a finished
    run in the folder `results`, its folder or its trace.parquet.

    Source: ours, a control.
    """

    trace: Trajectory

    def propose(self, position: Position) -> float:
        return self.trace.at(position)


@dataclass(kw_only=True)
class Shuffled(Control):
    """B = the sizes of a run in an order drawn with `seed`: a recorded run's steps, or a schedule's hundredths of the budget.

    Each size is served once, so sizes, updates and samples are the same and only their order differs. A last step that the
    budget cut stays last. Both schedulers of a run draw the same order from the same trace and seed.
    `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `schedule` as in
    `Reversed`. `initial` has no effect.

    Source: ours, a control.
    """

    seed: Whole = 0

    def altered(self, path: Trajectory) -> Trajectory:
        # of all that `random` offers, only random() promises the same numbers under every Python
        draws = random.Random(self.seed)
        keys = [draws.random() for _ in range(path.whole())]
        return path.ordered(sorted(range(path.whole()), key=keys.__getitem__))


@dataclass(kw_only=True)
class Reversed(Control):
    """B = the sizes of a run from the last to the first: a recorded run's steps, or a schedule's hundredths of the budget.

    Sizes, updates and samples are that run's; what grew now shrinks. A last step that the budget cut stays last.
    `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `initial` has no effect.

    `schedule`, instead of a trace, is a rule that sees nothing but the clock: no earlier run is needed. It is asked at the
    starts of 100 equal shares of the budget, so changes at hundredths of it are met exactly, others up to a hundredth late.
    Its `minimum`, `cooldown` and `growth_cap` have no effect, and where a step is larger than a share some shares are passed
    over. `+scheduler@scheduler.schedule=exponential scheduler.schedule.factor=2` takes it from the configurations.

    Source: ours, a control.
    """

    def altered(self, path: Trajectory) -> Trajectory:
        return path.ordered(range(path.whole() - 1, -1, -1))


@dataclass(kw_only=True)
class MeanMatched(Control):
    """B = the mean size of a run, the whole run: of a recorded one, or of a schedule.

    `match=updates`: the mean over its updates, samples / updates, which spends the budget in as many of them as that
    run. `match=samples`: the mean over its samples, sum_i B_i^2 / sum_i B_i over a recorded run's steps for images, the size
    that the average sample was served in; never below the other. A last step that the budget cut counts as the part of a step
    that it is. For a schedule's proposed sizes at 100 equal shares of the budget, before the range rounds them, the two means
    are the harmonic and the arithmetic one: 41.29 and 99.2 where 16 doubles to 256 in five equal stages. The range rounds the
    mean, so updates can differ by that.
    `trace` as in `Replay`, `schedule` as in `Reversed`; `initial` has no effect.

    Source: ours, a control.
    """

    match: Literal["updates", "samples"] = "updates"

    def altered(self, path: Trajectory) -> Trajectory:
        weights = path.updates if self.match == "updates" else path.samples
        return Trajectory.of([_mean(path.sizes, weights)], [path.total])


def _mean(sizes: Sequence[float], weights: Sequence[float]) -> float:
    return sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / sum(weights)


@dataclass(kw_only=True)
class Jump(SizeScheduler):
    """B = a recorded run's first size until it first reached its maximum, then that maximum: one step.

    `at=change` jumps where the recorded size first changed instead.
    The moment is the share of the budget. A run that never changed, or began at its maximum, is a constant. `trace` as in
    `Replay`; `initial` has no effect.

    Source: ours, a control.
    """

    trace: Trajectory
    at: Literal["maximum", "change"] = "maximum"

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.trace.sizes
        self._first, self._largest = sizes[0], max(sizes)
        changes = (step for step, size in enumerate(sizes) if size != self._first)
        step = sizes.index(self._largest) if self.at == "maximum" else next(changes, 0)
        self._start = self.trace.starts[step]

    def propose(self, position: Position) -> float:
        return self._first if self.trace.sample_at(position) < self._start else self._largest
