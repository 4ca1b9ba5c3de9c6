"""CABS: the batch size couples to the learning rate and the loss."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.averages import Average
from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Positive


@dataclass(kw_only=True)
class CABS(SizeScheduler):
    """B = c * lr * tr(Sigma) / F: the per-sample gradient variance over the training loss F, times the learning rate.

    tr(Sigma) and F are averages with one half-life in samples. The authors' code keeps 0.95 of its averages a step, 13.5 steps
    or at batch 128 1,728 samples, and starts them at 0 and 1; these are debiased and start at the first value, which differs
    for about a hundred steps. tr(Sigma) is the unbiased estimate, where theirs is (B - 1) / B of it. lr is that of the last step.
    The size is set at every step, without a cap, up or down.

    Caveats. The method is for plain SGD: with momentum the learning rate understates the length of a step. It takes the place of
    a decaying schedule (`lr_schedule=constant`): a decaying rate shrinks the batch. F is compared with 0: weight decay in the
    loss, label smoothing and noisy data keep F up and so the batch small. A single sample shows no variance:
    a minimum of 2 or more keeps the rule working (the authors' range is 16 to 2,048). F <= 0 asks for the maximum; a result
    below 1 is raised to 1.

    Source: Balles, Romero, Hennig 2017, arXiv 1612.05086.
    """

    not_for_blocks = "tr(Sigma) / F says how many samples to average, not how long a row should be"
    needs = frozenset({Stat.GRAD_VARIANCE})

    minimum: Count = 16
    c: Positive = 1
    half_life: Positive = 1728  # samples
    lr: float = field(default=0.0, init=False)  # of the last step
    variance: Average = field(init=False)
    loss: Average = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.variance = Average(half_life=self.half_life)
        self.loss = Average(half_life=self.half_life)

    def observe(self, seen: Observation) -> None:
        self.lr = seen.lr
        self.loss.add(seen.loss, seen)
        if Stat.GRAD_VARIANCE in seen.stats:
            self.variance.add(seen.stats[Stat.GRAD_VARIANCE], seen)

    def propose(self, position: Position) -> float:
        variance, loss = self.variance.value, self.loss.value
        if math.isnan(variance) or math.isnan(loss):
            return self.initial
        return max(1.0, self.c * self.lr * variance / loss) if loss > 0 else math.inf

    def signals(self) -> dict[str, float]:
        return {"grad_variance_average": self.variance.value, "loss_average": self.loss.value}
