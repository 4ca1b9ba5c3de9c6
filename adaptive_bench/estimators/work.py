"""One backward pass: what is to be done, and what an estimator hands back."""

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from torch import Tensor, nn

from adaptive_bench.estimators.moments import Pieces
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.streams.base import Batch

LossFunction = Callable[[nn.Module, Batch], Tensor]  # mean loss over the batch's samples, a scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A backward pass to do, on a model whose `.grad`s are None."""

    loss_fn: LossFunction
    model: nn.Module
    batch: Batch
    needs: AbstractSet[Stat]
    loss_scale: float
    watch: Stopwatch  # runs while something is done only to measure

    def backward(self, batch: Batch) -> float:
        """The mean loss of the batch or of a part of it; its gradient is added nowhere: every `.grad` has to be None before.

        The backward pass is that of loss_scale times the loss, so that small gradients survive half precision; the gradients
        come back divided by it. If the loss is not finite, there is no backward pass.
        """
        loss = self.loss_fn(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            return value
        if self.loss_scale == 1:
            loss.backward()  # type: ignore[no-untyped-call]
            return value
        (loss * self.loss_scale).backward()  # type: ignore[no-untyped-call]
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(self.loss_scale)
        return value

    def plain(self) -> "Pass":
        """The whole batch at once, not looked at in pieces."""
        return Pass(loss=self.backward(self.batch), physical_batch=len(self.batch), pieces=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A finished backward pass, before any statistic is computed from it."""

    loss: float
    physical_batch: int
    pieces: Pieces | None  # None: not looked at in pieces, or the loss is not finite
