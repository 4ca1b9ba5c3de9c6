"""Gradient moments, and the ratio called `sheet`, from how far the gradients of micro-batches lie apart."""

import math
import warnings
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import ClassVar, final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.microbatch_sums import MicrobatchSums
from adaptive_bench.estimators.moments import RATIO, SPREAD
from adaptive_bench.estimators.request import BackwardRequest, Finish
from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.execution.physical_batch import nearly_equal
from adaptive_bench.stats import Stat
from adaptive_bench.validation import Several, check_fields

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def share_equally(name: str, count: int, *, ranks: int) -> None:
    """Raises ValueError unless ranks can take equally many of `count` micro-batches."""
    if count % ranks:
        raise ValueError(
            f"{name}={count}: each of {ranks} processes is to take equally many micro-batches; "
            f"set estimator.{name} to {math.ceil(count / ranks) * ranks}"
        )


@final
@dataclass(kw_only=True, eq=False)
class MicroBatch(GradientEstimator):
    """k = min(chunks, B) micro-batches of b_j samples with mean gradients h_j; the batch gradient is sum_j (b_j / B) h_j.

    tr(Sigma) is estimated by (sum_j b_j |h_j|^2 - B |g|^2) / (k - 1): E sum_j b_j |h_j|^2 = B |G|^2 + k tr(Sigma) and
    E B |g|^2 = B |G|^2 + tr(Sigma) for any sizes b_j. It works for every kind of layer, and its noise falls with k.
    The seconds it reports are those of norms and sums; that small pieces may run slower than a whole batch is not among them.
    A micro-batch that memory does not hold goes through the model in chunks and stays one micro-batch. Several ranks take equally
    many of them each.
    """

    provides: ClassVar[frozenset[Stat]] = GradientEstimator.provides | SPREAD

    chunks: Several = 4  # one micro-batch has no spread

    def __post_init__(self) -> None:
        check_fields(self)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        share_equally("chunks", self.chunks, ranks=ranks)
        if any(isinstance(module, BATCH_NORMS) for module in model.modules()):
            warnings.warn(
                "MicroBatch on a model with BatchNorm: at measured steps its statistics are those of a chunk, not of the batch",
                stacklevel=3,
            )

    def _measure(self, work: BackwardRequest) -> tuple[Scalar, Finish]:
        samples = len(work.batch)
        count = min(self.chunks, samples)
        halves = (samples - samples // 2, count // 2), (samples // 2, count - count // 2)
        sizes = nearly_equal(samples, count)
        if Stat.HALVES_COSINE in work.needs and count > 1:  # the cut between the halves is one between micro-batches
            sizes = [size for rows, parts in halves for size in nearly_equal(rows, parts)]
        first, end = work.ranks.share(len(sizes))
        spread = MicrobatchSums(sizes=sizes, first=first, needs=work.needs, ranks=work.ranks)
        loss: Scalar = 0.0
        for start, stop in list(pairwise(accumulate(sizes, initial=0)))[first:end]:
            loss = loss + (stop - start) / samples * work.backward((start, stop))
            with work.clock.running("measure"):
                spread.take(work.model)

        def finish() -> Callable[[float], dict[Stat, Scalar]]:
            spread.add_up(work.model)
            with work.clock.running("measure"):
                return spread.finish()

        return loss, finish


@final
@dataclass(kw_only=True, eq=False)
class Sheet(GradientEstimator):
    """`MicroBatch` for k equal micro-batches, which gives a ratio often called a gradient noise scale, for comparison.

    It is plain variance over squared mean of the micro-batch gradients h_j: R = (1/k) sum_j |h_j - g|^2 / |g|^2.

    R is no noise scale. The expectation of its numerator is (k - 1) tr(Sigma) / B, that of its denominator |G|^2 + tr(Sigma) / B:
    their quotient rises with B_simple = tr(Sigma) / |G|^2 from 0 to k - 1, never beyond, and is B / (k - 1) times too small
    where it is small. Solved for the noise scale: B_simple = B R / (k - 1 - R). The R of a single step can lie above k - 1 all
    the same, where the h_j happen to cancel, and then says only that the noise scale is large.

    Every batch has to split into k equal ones. One that does not (the last of a run, cut by the budget) gives nan for R; its
    moments and its gradient are right all the same.
    """

    provides: ClassVar[frozenset[Stat]] = GradientEstimator.provides | RATIO

    microbatches: Several = 4
    _split: MicroBatch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        self._split = MicroBatch(chunks=self.microbatches)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        if multiple_of % self.microbatches:
            raise ValueError(
                f"micro-batches: batch sizes are multiples of {multiple_of}, which do not split into {self.microbatches} "
                f"equal ones; set batch_size.multiple_of to {math.lcm(multiple_of, self.microbatches)}"
            )
        share_equally("microbatches", self.microbatches, ranks=ranks)
        self._split._check_model(model, needs, multiple_of=multiple_of, ranks=ranks)

    def _measure(self, work: BackwardRequest) -> tuple[Scalar, Finish]:
        loss, finish = self._split._measure(work)
        if len(work.batch) % self.microbatches == 0:
            return loss, finish
        unknown = {Stat.MICROBATCH_RATIO: math.nan, Stat.MICROBATCHES: float(self.microbatches)}

        def without_ratio() -> Callable[[float], dict[Stat, Scalar]]:
            pieces = finish()
            return lambda sq_norm: {**pieces(sq_norm), **unknown}

        return loss, without_ratio
