"""One backward pass: what is to be done, and what an estimator hands back."""

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from torch import Tensor, nn

from adaptive_bench.chunks import Chunks
from adaptive_bench.estimators.moments import Pieces
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.streams.base import Batch

LossFunction = Callable[[nn.Module, Batch], Tensor]  # mean loss over the batch's samples, a scalar
Around = Callable[[int, int], AbstractContextManager[None]]  # entered for each chunk with its first row and the one behind it


@dataclass(slots=True, kw_only=True)
class Work:
    """A backward pass to do, on a model whose `.grad`s are None."""

    loss_fn: LossFunction
    model: nn.Module
    batch: Batch
    needs: AbstractSet[Stat]
    loss_scale: float
    chunks: Chunks
    watch: Stopwatch  # runs while something is done only to measure
    physical_batch: int = field(default=0, init=False)  # rows of the largest chunk so far

    def backward(self, batch: Batch, *, around: Around = lambda start, stop: nullcontext()) -> float:
        """The mean loss of the batch or of a part of it; its gradient is added nowhere: every `.grad` has to be None before.

        Chunks, weighted by their rows, add up to that gradient. The backward pass is that of loss_scale times the loss, so that
        small gradients survive half precision; the gradients come back divided by it. If the loss is not finite, it comes back
        at once, and every `.grad` is None.
        """
        total = 0.0
        for start, stop in self.chunks.spans(len(batch)):
            self.physical_batch = max(self.physical_batch, stop - start)
            share = (stop - start) / len(batch)
            with around(start, stop):
                loss = self.loss_fn(self.model, batch.rows(start, stop))
                total += share * loss.item()
                if not math.isfinite(total):
                    self.model.zero_grad(set_to_none=True)
                    return total
                (loss * (share * self.loss_scale)).backward()  # type: ignore[no-untyped-call]
        if self.loss_scale != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self.loss_scale)
        return total

    def plain(self) -> "Pass":
        """The whole batch, not looked at in pieces."""
        return Pass(loss=self.backward(self.batch), pieces=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A finished backward pass, before any statistic is computed from it."""

    loss: float
    pieces: Pieces | None  # None: not looked at in pieces, or the loss is not finite
