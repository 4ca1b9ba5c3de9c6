"""The estimator that fits the model and the needs."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import ClassVar, final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.coverage import refusal
from adaptive_bench.estimators.inner_products import why_not
from adaptive_bench.estimators.microbatch import MicroBatch
from adaptive_bench.estimators.per_sample import PerSample
from adaptive_bench.estimators.request import BackwardRequest, Finish
from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.stats import Stat

LEAST = 32  # rows: from two of 16, tr(Sigma) has a standard deviation of 95 % and is negative in a quarter of the steps


@final
@dataclass(kw_only=True, eq=False)
class Auto(GradientEstimator):
    """`PerSample` where layer rules cover every trainable parameter and give what is needed, `MicroBatch` otherwise.

    The choice is made once, by `check`, for all needs of a run; without a call of it, by the first `backward` that measures a
    moment. `chosen` is the estimator then, and `choice` says why.
    """

    provides: ClassVar[frozenset[Stat]] = PerSample.provides | MicroBatch.provides

    fraction: float = 1 / 8
    chunks: int = 4
    seed: int = 0
    choice: str = field(default="none: no moment was asked for", init=False)
    _per_sample: PerSample = field(init=False, repr=False)
    chosen: GradientEstimator | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._per_sample = PerSample(fraction=self.fraction, seed=self.seed, least=LEAST)
        MicroBatch(chunks=self.chunks)  # refuses a wrong setting even where it is not used
        self.generator, self.convolutions = self._per_sample.generator, self._per_sample.convolutions

    def hooked(self, needs: AbstractSet[Stat]) -> frozenset[Stat]:
        return (self.chosen or self._per_sample).hooked(needs)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        self.chosen = self._choose(model, needs)
        self.chosen._check_model(model, needs, multiple_of=multiple_of, ranks=ranks)

    def _measure(self, work: BackwardRequest) -> tuple[Scalar, Finish]:
        if self.chosen is None or work.needs - self.chosen.provides:
            self.chosen = self._choose(work.model, work.needs)
        return self.chosen._measure(work)

    def _choose(self, model: nn.Module, needs: AbstractSet[Stat]) -> GradientEstimator:
        if only_micro := needs - self._per_sample.provides:
            self.choice = f"microbatch: only micro-batches give {', '.join(sorted(only_micro))}"
        elif reason := refusal(model) or (why_not(model) if Stat.INNER_PRODUCT_VARIANCE in needs else None):
            self.choice = f"microbatch: {reason}"
        else:
            self.choice = "per_sample: layer rules cover 100% of the trainable parameters"
            return self._per_sample
        return MicroBatch(chunks=self.chunks)
