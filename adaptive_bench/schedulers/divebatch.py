"""DiveBatch: the batch size follows the diversity of the gradients."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import Observation, SizeScheduler, Stat, positive
from adaptive_bench.size import Progress


@dataclass(kw_only=True)
class DiveBatch(SizeScheduler):
    """B <- max(B, delta * n * diversity), diversity = sum_i |g_i|^2 / |sum_i g_i|^2
    (Chen, Wang, Sundaram 2025, arXiv 2509.16173; gradient diversity: Yin et al. 2018, arXiv 1706.05699).

    Both sums run over the samples of the last epoch before a resize, at the weights as they move, as in the authors'
    code; n is the number of samples an epoch. A diversity that is not finite asks for the maximum. `monotone=False`
    drops the max, so the batch may shrink. The authors' settings resize every 20 of 200 epochs; `interval=None` takes
    that tenth of the budget, in whole epochs, whatever the budget is. Rescaling the learning rate with the batch is
    `lr_rule=linear`.

    n * diversity = 1 + B_simple in expectation at fixed weights: the rule is B = delta * (1 + noise scale).
    """

    needs = frozenset({Stat.SAMPLE_SQ_NORMS, Stat.EPOCH_GRAD_SQ_NORM})

    delta: float = 0.1
    interval: int | None = None  # epochs between resizes; None: a tenth of the budget
    monotone: bool = True
    size: float = field(init=False)
    diversity: float = field(default=0.0, init=False)  # of the last measured epoch, 0 before the first
    sum_of_sq_norms: float = field(default=0.0, init=False)  # sum_i |g_i|^2 over this epoch so far
    sq_norm_of_sum: float = field(default=0.0, init=False)  # |sum_i g_i|^2 over this epoch so far

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("delta", self.delta)
        whole = isinstance(self.interval, int) and not isinstance(self.interval, bool)
        if self.interval is not None and not (whole and self.interval >= 1):
            raise ValueError(f"interval={self.interval!r}: a whole number of epochs from 1 up is expected")
        self.size = float(self.initial)

    def only_grows(self) -> bool:
        return self.monotone

    def measures(self, progress: Progress) -> bool:
        return (progress.samples // progress.epoch_samples + 1) % self._interval(progress) == 0

    def observe(self, seen: Observation) -> None:
        if seen.stats:
            self.sum_of_sq_norms += seen.shape.samples * seen.stats[Stat.SAMPLE_SQ_NORMS]
            self.sq_norm_of_sum = seen.stats[Stat.EPOCH_GRAD_SQ_NORM]
        epoch_samples, interval = seen.progress.epoch_samples, self._interval(seen.progress)
        ended = seen.progress.samples // epoch_samples
        began = (seen.progress.samples - seen.shape.samples) // epoch_samples
        if ended == began:
            return
        if self.sum_of_sq_norms > 0 and ended // interval > began // interval:
            self._resize(epoch_samples)
        self.sum_of_sq_norms = self.sq_norm_of_sum = 0.0

    def _resize(self, epoch_samples: int) -> None:
        usable = 0 < self.sq_norm_of_sum < math.inf and self.sum_of_sq_norms < math.inf
        self.diversity = self.sum_of_sq_norms / self.sq_norm_of_sum if usable else math.inf
        wish = self.delta * epoch_samples * self.diversity
        self.size = max(wish, self.size) if self.monotone else wish

    def _interval(self, progress: Progress) -> int:
        return max(1, round(progress.epochs / 10)) if self.interval is None else self.interval

    def propose(self, progress: Progress) -> float:
        return self.size
