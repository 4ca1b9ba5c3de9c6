"""DiveBatch's rule with the diversity of the whole training set."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.schedulers.divebatch import NOT_FOR_BLOCKS, resize_interval, resized
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Positive


@dataclass(kw_only=True)
class DiveBatchOracle(FeedbackScheduler):
    """B <- max(B, delta * n * diversity), with the diversity of all n rows of the training set at the weights of an epoch's end.

    The pass over the training set is charged to the method. It is exact where the estimator is: take `estimator=per_sample
    estimator.fraction=1`; a sampled or micro-batch estimator gives an estimate over all n. `interval` and `monotone` are
    DiveBatch's. The paper's own definition of its oracle was not found; this is our reading.

    Source: Chen, Wang, Sundaram 2025, arXiv 2509.16173; gradient diversity: Yin et al. 2018, arXiv 1706.05699.
    """

    not_for_blocks = NOT_FOR_BLOCKS

    delta: Positive = 0.1
    interval: Count | None = None  # epochs between resizes; None: a tenth of the budget
    monotone: bool = True
    bound: float = field(default=math.nan, init=False)  # n * diversity, at the last resize

    @property
    def needs(self) -> frozenset[Stat]:
        return frozenset({Stat.DIVERSITY_BOUND})

    def only_grows(self) -> bool:
        return self.monotone

    def measures(self, position: Position, samples: int) -> bool:
        interval = resize_interval(position, self.interval) * position.epoch_samples
        end = position.samples + samples
        return end // interval > position.samples // interval and end < position.budget  # nothing follows the last step

    def observe(self, seen: Observation) -> None:
        if Stat.DIVERSITY_BOUND in seen.stats:
            self.bound = seen.stats[Stat.DIVERSITY_BOUND]
            self.size = resized(self.size, self.delta * self.bound, monotone=self.monotone)

    def signals(self) -> dict[str, float]:
        return {"bound": self.bound}
