"""SimiGrad: the batch size follows the similarity of two half-batch gradients."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, Lt

from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Whole


@dataclass(kw_only=True)
class SimiGrad(FeedbackScheduler):
    """A tenth up where the cosine c of the two half-batch gradients is below target, a tenth down where it is above.

    c < target: B <- max(B + 1, int(1.1 B)); c > target: B <- max(1, min(B - 1, int(0.9 B))), c the mean of the last `smoothing`
    measured cosines. E c is about 1 / (1 + 2 B_simple / B): the rule settles where B = 2 target / (1 - target) B_simple.

    The authors' code changes the size at every step; once in 1,280 samples is ours, ten steps of 128. On a grid
    (`batch_size.multiple_of`) coarser than a tenth of the batch, growth would round to nothing. The source multiplies the
    learning rate by sqrt(B / B_0): `lr_rule=sqrt`.

    Source: Qin et al. 2021, NeurIPS, SimiGrad: Fine-Grained Adaptive Batching for Large Scale Training.
    """

    not_for_blocks = "the similarity of two halves says how many samples to average, not how long a row is"
    needs = frozenset({Stat.HALVES_COSINE})

    minimum: Count = 2  # one sample has no halves
    measure_every: Whole = 1280
    target: Annotated[float, Gt(-1), Lt(1)] = 0.1
    smoothing: Count = 1  # measured cosines
    cosines: list[float] = field(default_factory=list, init=False)

    def observe(self, seen: Observation) -> None:
        if not seen.uncut or not math.isfinite(seen.stats.get(Stat.HALVES_COSINE, math.nan)):
            return
        self.cosines = [*self.cosines, seen.stats[Stat.HALVES_COSINE]][-self.smoothing :]
        current = seen.granted
        if self.similarity < self.target:
            self.size = float(max(current + 1, int(1.1 * current)))
        elif self.similarity > self.target:
            self.size = float(max(1, min(current - 1, int(0.9 * current))))

    @property
    def similarity(self) -> float:
        return sum(self.cosines) / len(self.cosines) if self.cosines else math.nan

    def signals(self) -> dict[str, float]:
        return {"similarity": self.similarity}
