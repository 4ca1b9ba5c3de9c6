"""The norm test."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.averages import Average
from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Factor, NotNegative, Positive


@dataclass(kw_only=True)
class NormTest(FeedbackScheduler):
    """B <- ceil(tr(Sigma) / (eta^2 |g|^2)) where tr(Sigma) / B <= eta^2 |g|^2 fails; else B stays.

    tr(Sigma) and |g|^2 are averaged with a half-life in samples (None: an epoch; 0: each measured step by itself, as in
    AdAdaGrad's code, which tests at every step). `plug_in` takes the batch gradient's own |g|^2, as the sources do: its
    expectation is |G|^2 + tr(Sigma) / B, so the test asks for up to B / eta^2 however large the noise scale is.
    `plug_in=False` takes the unbiased |G|^2, and the rule is B = B_simple / eta^2. Growth by at most 2 once an epoch is ours.
    Big Batch SGD (De et al. 2017, arXiv 1610.05792) makes the same test with theta = eta.

    Source: Byrd, Chin, Nocedal, Wu 2012, doi 10.1007/s10107-012-0572-5; Lau, Liu, Kolar 2024, arXiv 2402.11215.
    """

    not_for_blocks = "the test asks how many samples to average, not how long a row is"

    minimum: Count = 2  # one sample has no variance
    cooldown: NotNegative = 1
    growth_cap: Factor | None = 2
    eta: Positive = 0.5
    plug_in: bool = True
    half_life: NotNegative | None = None  # samples; None: an epoch
    variance: Average = field(init=False)
    sq_norm: Average = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.variance = Average(half_life=self.half_life)
        self.sq_norm = Average(half_life=self.half_life)

    @property
    def needs(self) -> frozenset[Stat]:
        return frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_NORM if self.plug_in else Stat.GRAD_SQ_NORM})

    def only_grows(self) -> bool:
        return True

    def observe(self, seen: Observation) -> None:
        if not seen.stats:
            return
        sq_norm = seen.stats[Stat.GRAD_NORM] ** 2 if self.plug_in else seen.stats[Stat.GRAD_SQ_NORM]
        self.variance.add(seen.stats[Stat.GRAD_VARIANCE], seen)
        self.sq_norm.add(sq_norm, seen)
        self.size = max(float(seen.granted), whole(self.quotient))

    @property
    def quotient(self) -> float:
        """The batch size at which the test holds; infinite where the averaged |g|^2 is not above 0."""
        bound = self.eta**2 * self.sq_norm.value
        return self.variance.value / bound if bound > 0 else math.inf if bound <= 0 else math.nan

    def signals(self) -> dict[str, float]:
        return {"test_size": self.quotient}


def whole(size: float) -> float:
    """The next whole number up; 0 while nothing is known."""
    return 0.0 if math.isnan(size) else size if math.isinf(size) else float(math.ceil(size))
