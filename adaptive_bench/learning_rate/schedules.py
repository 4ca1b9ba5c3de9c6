"""Schedules of the learning rate: a factor as a function of the position in samples.

Each is called once when a run is built, and raises ValueError then if it does not fit the budget. All but `Plateau` depend
on the position alone, so they are the same for every scheduler.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, final

from annotated_types import Gt, Lt

from adaptive_bench.schedulers.patience import Patience
from adaptive_bench.sizes import Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation
from adaptive_bench.validation import NotNegative, Positive, Share, Shrinkage, Whole


@dataclass(kw_only=True)
class LrSchedule(Stateful, ABC):
    """A factor on the learning rate."""

    def observe(self, seen: Observation) -> None:
        """Take note of a finished step."""

    @abstractmethod
    def __call__(self, position: Position) -> float:
        """The factor for the step that starts at `position`. Changes nothing."""


@final
class Constant(LrSchedule):
    """1: the learning rate stays constant."""

    def __call__(self, position: Position) -> float:
        return 1.0


def warming(position: Position, *, warmup: float, start: float) -> float | None:
    """start + (1 - start) * epoch / warmup in the first `warmup` epochs, None after them. Raises ValueError past the budget."""
    if not 0 <= warmup < position.epochs:
        raise ValueError(f"warmup={warmup}: from 0 up to less than the budget of {position.epochs:g} epochs is expected")
    return start + (1 - start) * position.epoch / warmup if position.epoch < warmup else None


@final
@dataclass(kw_only=True)
class Cosine(LrSchedule):
    """final + (1 - final) * (1 + cos(pi * t)) / 2, t the spent share of the budget after the warm-up
    (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts).

    Over the first `warmup` epochs the factor rises linearly from `start` to 1.
    """

    warmup: NotNegative = 0.0  # epochs
    start: Share = 0.1
    final: Share = 0.0

    def __call__(self, position: Position) -> float:
        if (rising := warming(position, warmup=self.warmup, start=self.start)) is not None:
            return rising
        begin = self.warmup * position.epoch_samples
        spent = (position.samples - begin) / (position.budget - begin)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * spent)) / 2


@final
@dataclass(kw_only=True)
class MultiStep(LrSchedule):
    """gamma^k after the k-th milestone. Milestones are in epochs, ascending.

    Over the first `warmup` epochs the factor rises linearly from `start` to 1, whatever the milestones are.
    """

    milestones: Sequence[Positive]
    gamma: Positive = 0.2
    warmup: NotNegative = 0.0  # epochs
    start: Share = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(set(self.milestones)) != list(self.milestones):
            raise ValueError(f"milestones={list(self.milestones)}: ascending epochs are expected")

    def __call__(self, position: Position) -> float:
        if (rising := warming(position, warmup=self.warmup, start=self.start)) is not None:
            return rising
        return float(self.gamma ** bisect_right(self.milestones, position.epoch + 1e-9))  # allowance as in Position.completed


@final
@dataclass(kw_only=True)
class Staircase(LrSchedule):
    """gamma^i after i intervals of so many epochs; without an `interval`, of a fifth of the budget.

    AdaBatch (Devarakonda et al. 2017, arXiv 1712.02029) takes 0.75 where it doubles the batch and 0.375 in its fixed baseline,
    every 20 of 100 epochs: both spend the same learning rate per sample of a batch.
    """

    gamma: Positive = 0.375
    interval: Positive | None = None  # epochs

    def __call__(self, position: Position) -> float:
        return float(self.gamma ** position.completed(self.interval))


@final
@dataclass(kw_only=True)
class Zaremba(LrSchedule):
    """1 for the first `constant` epochs, then `decay` times as much in every epoch: decay^max(0, e - constant + 1) in the epoch
    of number e, counted from 0.

    Zaremba et al. 2014 (arXiv 1409.2329): 4 epochs and 1/2 for the small model, 6 and 1/1.2 for the medium one, 14 and 1/1.15
    for the large one; TensorFlow's reference implementation has 0.8 for the medium one.
    """

    constant: NotNegative = 4  # epochs
    decay: Shrinkage = 0.5

    def __call__(self, position: Position) -> float:
        return float(self.decay ** max(0, math.floor(position.completed(1) - self.constant + 1)))


@final
@dataclass(kw_only=True)
class Plateau(LrSchedule):
    """factor^k after k plateaus: a plateau is more than `patience` evaluations in a row whose loss on the validation split did
    not fall, `cooldown` evaluations after the last one not counted. Never below `minimum`.

    torch's ReduceLROnPlateau with its rules (see `Patience`), without its `eps`, and with its defaults but for a patience of 2:
    here an evaluation is mostly an epoch. It follows the run's own validation loss, so runs with different sizes
    have different learning rates.
    """

    factor: Annotated[float, Gt(0), Lt(1)] = 0.1
    patience: Whole = 2  # evaluations
    threshold: NotNegative = 1e-4  # of the lowest loss, or in its unit
    threshold_mode: Literal["relative", "absolute"] = "relative"
    cooldown: Whole = 0  # evaluations
    minimum: Share = 0.0  # of the factor on the learning rate
    reached: float = field(default=1.0, init=False)
    cooling: int = field(default=0, init=False)  # evaluations that do not count yet
    stall: Patience = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stall = Patience(patience=self.patience, threshold=self.threshold, threshold_mode=self.threshold_mode)

    def observe(self, seen: Observation) -> None:
        if seen.validation_loss is None:
            return
        if self.stall.at(-seen.validation_loss, counts=not self.cooling):
            self.reached, self.cooling = max(self.reached * self.factor, self.minimum), self.cooldown
        else:
            self.cooling = max(0, self.cooling - 1)

    def __call__(self, position: Position) -> float:
        return self.reached
