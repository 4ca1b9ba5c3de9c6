"""One backward pass: what is to be done, and what an estimator hands back."""

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from torch import nn

from adaptive_bench.estimators.moments import GradientMoments
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch, LossFunction

Around = Callable[[int, int], AbstractContextManager[None]]  # entered for each chunk with its rows [start, stop)


@dataclass(slots=True, kw_only=True)
class BackwardRequest:
    """A backward pass to do, on a model whose `.grad`s are None."""

    loss_fn: LossFunction
    model: nn.Module
    batch: Batch
    needs: AbstractSet[Stat]
    loss_scale: float
    chunks: PhysicalBatch
    ranks: Ranks
    clock: Clock  # its "measure" runs while something is done only to measure
    physical_batch: int = field(default=0, init=False)  # rows of the largest chunk so far

    def backward(self, first: int, end: int, *, of: int, around: Around = lambda start, stop: nullcontext()) -> float:
        """The share that the rows from `first` up to `end` have in the mean loss of `of` rows, and in every `.grad` its gradient.

        Every `.grad` has to be None before. The chunks, weighted by their rows, add up to that gradient. The pass is that
        of loss_scale times the loss, so that small gradients survive half precision; the gradients come back divided by it. If
        the loss is not finite, it comes back at once, and every `.grad` is None.
        """
        total = 0.0
        for start, stop in self.chunks.spans(first, end):
            self.physical_batch = max(self.physical_batch, stop - start)
            share = (stop - start) / of
            with around(start, stop):
                loss = self.loss_fn(self.model, self.batch.rows(start, stop))
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

    def whole(self, *, around: Around = lambda start, stop: nullcontext()) -> float:
        """`backward` of this rank's rows of the batch; at least two, since BatchNorm cannot normalise a single one."""
        return self.backward(*self.ranks.share(len(self.batch), least=2), of=len(self.batch), around=around)

    def add_up(self) -> None:
        """Replace every `.grad` by its sum over the ranks."""
        parameters = list(self.model.parameters())
        held = {parameter: parameter.grad for parameter in parameters if parameter.grad is not None}
        for parameter, gradient in self.ranks.sum(held, over=parameters).items():
            parameter.grad = gradient

    def plain(self) -> "BackwardResult":
        """The whole batch, not looked at in pieces."""
        return BackwardResult(loss=self.whole(), finish=self.add_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardResult:
    """One rank's backward pass, before the ranks have added theirs up and any statistic is computed."""

    loss: float  # this rank's share of the mean loss
    # puts the batch gradient into the `.grad`s, and says what was seen of its pieces, if any; called if all losses are finite
    finish: Callable[[], GradientMoments | None]
