"""The ratio that is often called a gradient noise scale, for the sake of comparison."""

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.microbatch import MicroBatch, share_equally
from adaptive_bench.estimators.moments import RATIO, GradientMoments
from adaptive_bench.estimators.request import BackwardRequest, BackwardResult
from adaptive_bench.stats import Stat
from adaptive_bench.validation import whole_number


@final
@dataclass(kw_only=True, eq=False)
class Sheet(GradientEstimator):
    """Plain variance over squared mean of k equal micro-batch gradients h_j: R = (1/k) sum_j |h_j - g|^2 / |g|^2.

    R is no noise scale. The expectation of its numerator is (k - 1) tr(Sigma) / B, that of its denominator |G|^2 + tr(Sigma) / B:
    their quotient rises with B_simple = tr(Sigma) / |G|^2 from 0 to k - 1, never beyond, and is B / (k - 1) times too small
    where it is small. Solved for the noise scale: B_simple = B R / (k - 1 - R). The R of a single step can lie above k - 1 all
    the same, where the h_j happen to cancel, and then says only that the noise scale is large.

    Every batch has to split into k equal ones. One that does not (the last of a run, cut by the budget) gives nan for R; neither
    the moments nor the gradient mind.
    """

    provides: ClassVar[frozenset[Stat]] = GradientEstimator.provides | RATIO

    microbatches: int = 4
    _split: MicroBatch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole_number("microbatches", self.microbatches, least=2)
        self._split = MicroBatch(chunks=self.microbatches)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        if multiple_of % self.microbatches:
            raise ValueError(
                f"micro-batches: batch sizes are multiples of {multiple_of}, which do not split into {self.microbatches} "
                f"equal ones; set batch_size.multiple_of to {math.lcm(multiple_of, self.microbatches)}"
            )
        share_equally("microbatches", self.microbatches, ranks=ranks)
        self._split._check_model(model, needs, multiple_of=multiple_of, ranks=ranks)

    def _measure(self, work: BackwardRequest) -> BackwardResult:
        done = self._split._measure(work)
        if len(work.batch) % self.microbatches == 0:
            return done
        unknown = {Stat.MICROBATCH_RATIO: math.nan, Stat.MICROBATCHES: float(self.microbatches)}

        def finish() -> GradientMoments | None:
            pieces = done.finish()
            return pieces and replace(pieces, spread=unknown)

        return replace(done, finish=finish)
