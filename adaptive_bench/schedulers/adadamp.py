"""AdaDamp: the batch size grows as the loss falls."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.averages import Average
from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation
from adaptive_bench.validation import Factor, NotNegative, Positive


@dataclass(kw_only=True)
class AdaDamp(SizeScheduler):
    """B = initial * (F_0 - F*) / (F - F*): the size grows as the loss F nears the optimum F*.

    F_0 is the training loss of the first step and F its average over the steps since, debiased, with a half-life in samples
    (None: an epoch); the average is ours, the method being stated for the loss over all data, which its authors approximate as
    well. F* is `optimum`, the lowest loss there is: 0 for cross-entropy of a model that can fit the training set, more where
    labels are smoothed or the data are noisy, as in text. F <= F* asks for the maximum. Where the loss rises, the size falls.
    The formula's ceiling is left out: the range of sizes rounds to the nearest.

    The defaults cooldown = 1 epoch and growth_cap = 2 are ours: the loss of a step is a noisy thing to divide by. The learning
    rate stays (`lr_rule=none`).

    Source: Sievert, Charles 2019, arXiv 1910.08222.
    """

    cooldown: NotNegative = 1
    growth_cap: Factor | None = 2
    optimum: float = 0  # F*
    half_life: Positive | None = None  # samples; None: an epoch
    first: float | None = field(default=None, init=False)  # F_0
    loss: Average = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loss = Average(half_life=self.half_life)

    def observe(self, seen: Observation) -> None:
        if self.first is None and math.isfinite(seen.loss):
            self.first = seen.loss
        self.loss.add(seen.loss, seen)

    def propose(self, position: Position) -> float:
        if self.first is None:
            return self.initial
        at_first, now = self.first - self.optimum, self.loss.value - self.optimum
        return self.initial * at_first / now if at_first > 0 and now > 0 else math.inf

    def signals(self) -> dict[str, float]:
        return {"loss_first": math.nan if self.first is None else self.first, "loss_average": self.loss.value}
