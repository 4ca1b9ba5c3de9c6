"""Gradient moments from the spread of micro-batch gradients."""

import math
import warnings
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar, final

from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.microbatch_sums import MicrobatchSums
from adaptive_bench.estimators.moments import SPREAD, GradientMoments
from adaptive_bench.estimators.request import BackwardRequest, BackwardResult
from adaptive_bench.execution.physical_batch import nearly_equal
from adaptive_bench.stats import Stat

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

    chunks: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.chunks, bool) or not isinstance(self.chunks, int) or self.chunks < 2:
            raise ValueError(f"chunks={self.chunks!r}: a whole number from 2 up is expected, one micro-batch has no spread")

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        share_equally("chunks", self.chunks, ranks=ranks)
        if any(isinstance(module, BATCH_NORMS) for module in model.modules()):
            warnings.warn(
                "MicroBatch on a model with BatchNorm: at measured steps its statistics are those of a chunk, not of the batch",
                stacklevel=3,
            )

    def _measure(self, work: BackwardRequest) -> BackwardResult:
        samples = len(work.batch)
        sizes = nearly_equal(samples, min(self.chunks, samples))
        first, end = work.ranks.share(len(sizes))
        spread, loss = MicrobatchSums(sizes=sizes, first=first, needs=work.needs, ranks=work.ranks), 0.0
        for start, stop in list(pairwise(accumulate(sizes, initial=0)))[first:end]:
            loss += (stop - start) / samples * work.backward(start, stop, of=stop - start)
            if not math.isfinite(loss):
                break
            with work.clock.running("measure"):
                spread.take(work.model)

        def finish() -> GradientMoments:
            spread.add_up(work.model)
            with work.clock.running("measure"):
                return spread.finish()

        return BackwardResult(loss=loss, finish=finish)
