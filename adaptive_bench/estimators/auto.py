"""The estimator that fits the model."""

from dataclasses import dataclass, field
from typing import final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator, LossFunction, Pass
from adaptive_bench.estimators.coverage import refusal
from adaptive_bench.estimators.microbatch import MicroBatch
from adaptive_bench.estimators.per_sample import PerSample
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.streams.base import Batch


@final
@dataclass(kw_only=True, eq=False)
class Auto(GradientEstimator):
    """`PerSample` where layer rules cover every trainable parameter, `MicroBatch` otherwise; `choice` says which, and why."""

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

    def _check_model(self, model: nn.Module) -> None:
        self._choose(model)._check_model(model)

    def _measure(self, loss_fn: LossFunction, model: nn.Module, batch: Batch, watch: Stopwatch) -> Pass:
        return self._choose(model)._measure(loss_fn, model, batch, watch)

    def _choose(self, model: nn.Module) -> GradientEstimator:
        reason = refusal(model)
        if reason is not None:
            self.choice = f"microbatch: {reason}"
            return self._microbatch
        self.choice = "per_sample: layer rules cover 100% of the trainable parameters"
        return self._per_sample
