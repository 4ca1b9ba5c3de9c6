"""The inner-product test, with or without the orthogonality test."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.averages import Average
from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.schedulers.norm_test import whole
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Factor, NotNegative, Positive


@dataclass(kw_only=True)
class InnerProductTest(FeedbackScheduler):
    """B <- max(Var(<g_i, g>) / (theta^2 |g|^4), Var(g_i - <g_i, g> / |g|^2 g) / (nu^2 |g|^2)), rounded up, where above B.

    The first quotient is the inner-product test solved for the batch size, the second the orthogonality test that augments it;
    `nu=None` leaves that out. Variances are over samples and the second one is tr(Sigma) - Var(<g_i, g>) / |g|^2. All moments
    are averaged with a half-life in samples (None: an epoch; 0: each measured step by itself, as in AdAdaGrad's code). The
    variance of the inner product is of the whole gradient; AdAdaGrad's code adds up variances by parameter tensor, which is
    another number. Growth by at most 2 once an epoch is ours.

    Source: Bollapragada, Byrd, Nocedal 2018, arXiv 1710.11258; Lau, Liu, Kolar 2024, arXiv 2402.11215.
    """

    not_for_blocks = "the test asks how many samples to average, not how long a row is"
    needs = frozenset({Stat.INNER_PRODUCT_VARIANCE, Stat.GRAD_VARIANCE, Stat.GRAD_NORM})

    minimum: Count = 2  # one sample has no variance
    cooldown: NotNegative = 1
    growth_cap: Factor | None = 2
    theta: Positive = 0.5
    nu: Positive | None = 1
    half_life: NotNegative | None = None  # samples; None: an epoch
    inner: Average = field(init=False)  # Var(<g_i, g>)
    variance: Average = field(init=False)  # tr(Sigma)
    sq_norm: Average = field(init=False)  # |g|^2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inner = Average(half_life=self.half_life)
        self.variance = Average(half_life=self.half_life)
        self.sq_norm = Average(half_life=self.half_life)

    def only_grows(self) -> bool:
        return True

    def observe(self, seen: Observation) -> None:
        if not seen.stats:
            return
        self.inner.add(seen.stats[Stat.INNER_PRODUCT_VARIANCE], seen)
        self.variance.add(seen.stats[Stat.GRAD_VARIANCE], seen)
        self.sq_norm.add(seen.stats[Stat.GRAD_NORM] ** 2, seen)
        self.size = max(float(seen.granted), whole(self.inner_quotient), whole(self.orthogonal_quotient))

    @property
    def inner_quotient(self) -> float:
        """The batch size at which the inner-product test holds."""
        return _quotient(self.inner.value, self.theta**2 * self.sq_norm.value**2)

    @property
    def orthogonal_quotient(self) -> float:
        """The batch size at which the orthogonality test holds; 0 without one."""
        if self.nu is None:
            return 0.0
        along = _quotient(self.inner.value, self.sq_norm.value)
        return _quotient(max(0.0, self.variance.value - along), self.nu**2 * self.sq_norm.value)

    def signals(self) -> dict[str, float]:
        return {"inner_product_size": self.inner_quotient, "orthogonality_size": self.orthogonal_quotient}


def _quotient(variance: float, bound: float) -> float:
    return variance / bound if bound != 0 else math.inf
