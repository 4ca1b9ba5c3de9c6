"""DiveBatch: the batch size follows the diversity of the gradients."""

import math
from dataclasses import dataclass, field
from typing import Literal

from adaptive_bench.schedulers.averages import NOISE, NoiseScale
from adaptive_bench.schedulers.base import FeedbackScheduler, Noise, mirrored, refuse_monotone
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, NotNegative, Positive

NOT_FOR_BLOCKS = "gradient diversity says how many samples to average, not how long a row is"


@dataclass(kw_only=True)
class DiveBatch(FeedbackScheduler):
    """B <- max(B, delta * n * diversity), diversity = sum_i |g_i|^2 / |sum_i g_i|^2, n the rows of an epoch.

    `variant=accumulated`: both sums run over the steps of the last epoch before a resize, at the weights as they move, as in the
    authors' code, and n counts the rows of these steps. The last epoch is not measured, since no step follows it.
    `variant=moments`: n * diversity = 1 + B_simple at fixed weights, from averaged unbiased moments (half-life in samples,
    None: an epoch); `max_relative_error` holds the size while B_simple is known less well.

    The authors' code rounds sizes down, where ours are rounded to the nearest, and counts a short last batch in full. Their
    notebooks print standard deviations over seeds and train on all 50,000 images of CIFAR; our sweeps keep 5,000 of them for
    validation.

    A diversity that is not finite asks for the maximum. `monotone=False` drops the max, so the batch may shrink. With it,
    `noise=shrinks` turns the sign: the mirror image about the first size, initial^2 / (delta * n * diversity). The authors'
    settings resize every 20 of 200 epochs; `interval=None` takes that tenth of the budget, in whole epochs, whatever the budget
    is. Rescaling the learning rate with the batch is `lr_rule=linear`.

    With delta = 0.1 the rule asks for more than 2,048 at its first resize on CIFAR (n * diversity is 10,000 and more): compare
    it with `scheduler=jump` on its own trace before crediting the diversity.

    Source: Chen, Wang, Sundaram 2025, arXiv 2509.16173; gradient diversity: Yin et al. 2018, arXiv 1706.05699.
    """

    not_for_blocks = NOT_FOR_BLOCKS

    delta: Positive = 0.1
    interval: Count | None = None  # epochs between resizes; None: a tenth of the budget
    monotone: bool = True
    noise: Noise = "grows"
    variant: Literal["accumulated", "moments"] = "accumulated"
    half_life: NotNegative | None = None  # samples; None: an epoch
    max_relative_error: Positive | None = None
    diversity: float = field(default=math.nan, init=False)  # at the last resize
    rows: int = field(default=0, init=False)  # of this epoch so far
    samples: int = field(default=0, init=False)  # of this epoch so far
    sum_of_sq_norms: float = field(default=0.0, init=False)  # sum_i |g_i|^2 over this epoch so far
    sq_norm_of_sum: float = field(default=0.0, init=False)  # |sum_i g_i|^2 over this epoch so far
    estimate: NoiseScale = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_monotone(self.noise, monotone=self.monotone)
        if self.variant == "accumulated" and self.measure_every:
            raise ValueError(
                f"measure_every={self.measure_every}: variant=accumulated adds up every step of an epoch; set it to 0 or take "
                "variant=moments"
            )
        self.estimate = NoiseScale(half_life=self.half_life, max_relative_error=self.max_relative_error)

    @property
    def needs(self) -> frozenset[Stat]:
        return NOISE if self.variant == "moments" else frozenset({Stat.MEAN_SAMPLE_SQ_NORM, Stat.EPOCH_GRAD_SQ_NORM})

    def only_grows(self) -> bool:
        return self.monotone

    def measures(self, position: Position, samples: int) -> bool:
        if self.variant == "moments":
            return super().measures(position, samples)
        epoch = position.samples // position.epoch_samples + 1  # that the step is in, and after which the size may change
        return epoch % resize_interval(position, self.interval) == 0 and epoch * position.epoch_samples < position.budget

    def observe(self, seen: Observation) -> None:
        epoch_samples = seen.position.epoch_samples
        self.rows += seen.shape.batch
        self.samples += seen.shape.samples
        if self.variant == "moments":
            self.estimate.add(seen)
        elif seen.stats:
            self.sum_of_sq_norms += seen.shape.batch * seen.stats[Stat.MEAN_SAMPLE_SQ_NORM]
            self.sq_norm_of_sum = seen.stats[Stat.EPOCH_GRAD_SQ_NORM]
        if seen.crossed(resize_interval(seen.position, self.interval) * epoch_samples) and self._known():
            bound = self._bound()
            self.diversity = bound * self.samples / (self.rows * epoch_samples)  # the bound over the rows of an epoch
            wished = self.delta * bound
            wished = wished if self.noise == "grows" else mirrored(wished, self.initial)
            self.size = resized(self.size, wished, monotone=self.monotone)
        if seen.crossed(epoch_samples):
            self.rows, self.samples, self.sum_of_sq_norms, self.sq_norm_of_sum = 0, 0, 0.0, 0.0

    def _known(self) -> bool:
        return self.estimate.trusted if self.variant == "moments" else self.sum_of_sq_norms > 0

    def _bound(self) -> float:
        """n * diversity. The sums run over `rows` rows, which the steps at the borders of an epoch make more or fewer than n."""
        if self.variant == "moments":
            return 1 + self.estimate.value
        usable = 0 < self.sq_norm_of_sum < math.inf and self.sum_of_sq_norms < math.inf
        return self.rows * self.sum_of_sq_norms / self.sq_norm_of_sum if usable else math.inf

    def signals(self) -> dict[str, float]:
        return {"diversity": self.diversity} | (self.estimate.signals() if self.variant == "moments" else {})


def resize_interval(position: Position, interval: int | None) -> int:
    """Epochs between resizes."""
    return max(1, round(position.epochs / 10)) if interval is None else interval


def resized(size: float, proposed: float, *, monotone: bool) -> float:
    return max(proposed, size) if monotone else max(proposed, 1.0)
