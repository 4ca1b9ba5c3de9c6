"""The estimator that fits the model and the needs."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import ClassVar, final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.coverage import refusal
from adaptive_bench.estimators.microbatch import MicroBatch
from adaptive_bench.estimators.per_sample import PerSample
from adaptive_bench.estimators.request import BackwardRequest, BackwardResult
from adaptive_bench.stats import Stat


@final
@dataclass(kw_only=True, eq=False)
class Auto(GradientEstimator):
    """`PerSample` where layer rules cover every trainable parameter and give what is needed, `MicroBatch` otherwise.

    `choice` says which, and why: for all needs of a run after `check`, and for those of one step after `backward`.
    """

    provides: ClassVar[frozenset[Stat]] = PerSample.provides | MicroBatch.provides
    hooks: ClassVar[frozenset[Stat]] = PerSample.hooks

    fraction: float = 1 / 8
    chunks: int = 4
    seed: int = 0
    choice: str = field(default="none: no moment was asked for", init=False)
    _per_sample: PerSample = field(init=False, repr=False)
    _microbatch: MicroBatch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._per_sample = PerSample(fraction=self.fraction, seed=self.seed)
        self._microbatch = MicroBatch(chunks=self.chunks)
        self.generator = self._per_sample.generator

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        self._choose(model, needs)._check_model(model, needs, multiple_of=multiple_of, ranks=ranks)

    def _measure(self, work: BackwardRequest) -> BackwardResult:
        return self._choose(work.model, work.needs)._measure(work)

    def _choose(self, model: nn.Module, needs: AbstractSet[Stat]) -> GradientEstimator:
        if only_micro := needs - self._per_sample.provides:
            self.choice = f"microbatch: only micro-batches give {', '.join(sorted(only_micro))}"
            return self._microbatch
        if reason := refusal(model):
            self.choice = f"microbatch: {reason}"
            return self._microbatch
        self.choice = "per_sample: layer rules cover 100% of the trainable parameters"
        return self._per_sample
