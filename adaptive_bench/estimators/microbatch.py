"""Gradient moments from the spread of micro-batch gradients."""

import math
import warnings
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import final

from torch import Tensor, nn

from adaptive_bench.estimators.base import GradientEstimator, LossFunction, Pass, backward_if_finite, total_sq_norm
from adaptive_bench.estimators.moments import Pieces
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.streams.base import Batch

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@final
@dataclass(kw_only=True, eq=False)
class MicroBatch(GradientEstimator):
    """k = min(chunks, B) micro-batches of b_j samples with mean gradients h_j; the batch gradient is sum_j (b_j / B) h_j.

    tr(Sigma) is estimated by (sum_j b_j |h_j|^2 - B |g|^2) / (k - 1): E sum_j b_j |h_j|^2 = B |G|^2 + k tr(Sigma) and
    E B |g|^2 = B |G|^2 + tr(Sigma) for any sizes b_j. It works for every kind of layer, and its noise falls with k.
    The seconds it reports are those of norms and sums; that small pieces may run slower than a whole batch is not among them.
    """

    chunks: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.chunks, bool) or not isinstance(self.chunks, int) or self.chunks < 2:
            raise ValueError(f"chunks={self.chunks!r}: a whole number from 2 up is expected, one micro-batch has no spread")

    def _check_model(self, model: nn.Module) -> None:
        if any(isinstance(module, BATCH_NORMS) for module in model.modules()):
            warnings.warn(
                "MicroBatch on a model with BatchNorm: at measured steps its statistics are those of a chunk, not of the batch",
                stacklevel=3,
            )

    def _measure(self, loss_fn: LossFunction, model: nn.Module, batch: Batch, watch: Stopwatch) -> Pass:
        samples = len(batch)
        sizes = _nearly_equal(samples, min(self.chunks, samples))
        mean: dict[nn.Parameter, Tensor] = {}
        loss, weighted_sq_norms = 0.0, 0.0
        for start, stop in pairwise(accumulate(sizes, initial=0)):
            share = (stop - start) / samples
            loss += share * backward_if_finite(loss_fn(model, batch.rows(start, stop)))
            if not math.isfinite(loss):
                model.zero_grad(set_to_none=True)
                return Pass(loss=loss, physical_batch=max(sizes), pieces=None)
            with watch.running():
                weighted_sq_norms += (stop - start) * _move_gradient(model, mean, share=share)
        for parameter, gradient in mean.items():
            parameter.grad = gradient
        pieces = Pieces(samples=samples, count=len(sizes), weighted_sq_norms=weighted_sq_norms)
        return Pass(loss=loss, physical_batch=max(sizes), pieces=pieces)


def _nearly_equal(total: int, parts: int) -> list[int]:
    size, larger = divmod(total, parts)
    return [size + 1] * larger + [size] * (parts - larger)


def _move_gradient(model: nn.Module, mean: dict[nn.Parameter, Tensor], *, share: float) -> float:
    """Take the gradient h out of the model, add share * h to `mean`, give |h|^2."""
    gradients = {parameter: parameter.grad for parameter in model.parameters() if parameter.grad is not None}
    sq_norm = total_sq_norm(gradients.values())
    for parameter, gradient in gradients.items():
        mean[parameter] = mean[parameter].add_(gradient, alpha=share) if parameter in mean else gradient.mul_(share)
        parameter.grad = None
    return sq_norm
