"""One backward pass: what is to be done, and what came of it."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from torch import nn

from adaptive_bench.estimators.entropy import Entropy
from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import IGNORED, Batch, LossFunction

Around = Callable[[int, int], AbstractContextManager[None]]  # entered for each chunk with its rows [start, stop)
# What follows a rank's own backward pass, once all ranks have made theirs: puts the batch gradient g into the `.grad`s. What it
# returns gives, from |g|^2, the statistics that the pieces of the batch show.
Finish = Callable[[], Callable[[float], Mapping[Stat, Scalar]]]


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
    entropy: Entropy | None = None  # where it is measured; is told which positions of a chunk are padding
    physical_batch: int = field(default=0, init=False)  # rows of the largest chunk so far

    def backward(self, rows: tuple[int, int] | None = None, *, around: Around = lambda start, stop: nullcontext()) -> Scalar:
        """The mean loss of the rows [first, end), and its gradient in every `.grad`, which has to be None before.

        Without `rows`, this rank's share of the batch, and the share that its rows have in the batch's mean loss; at least two
        rows, since BatchNorm cannot normalise a single one. The chunks, weighted by their rows, add up to that gradient. The
        pass is that of loss_scale times the loss, so that small gradients survive half precision; the gradients come back
        divided by it.
        """
        first, end = rows or self.ranks.share(len(self.batch), least=2)
        of = end - first if rows else len(self.batch)
        total: Scalar = 0.0
        for start, stop in self.chunks.spans(first, end, width=self.batch.width):
            self.physical_batch = max(self.physical_batch, stop - start)
            share = (stop - start) / of
            chunk = self.batch.rows(start, stop)
            if self.entropy is not None:
                self.entropy.real = None if chunk.tokens_per_row is None else chunk.targets != IGNORED
            positions = (stop - start) * self.batch.width
            with around(start, stop), self.chunks.watched(positions, measured=bool(self.needs), clock=self.clock):
                loss = self.loss_fn(self.model, chunk)
                total = total + share * loss.detach().double()
                (loss * (share * self.loss_scale)).backward()  # type: ignore[no-untyped-call]
        if self.loss_scale != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self.loss_scale)
        return total

    def add_up(self) -> None:
        """Replace every `.grad` by its sum over the ranks."""
        parameters = list(self.model.parameters())
        held = {parameter: parameter.grad for parameter in parameters if parameter.grad is not None}
        for parameter, gradient in self.ranks.sum(held, over=parameters).items():
            parameter.grad = gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardResult:
    """What one backward pass gave. `stats` is empty if nothing was asked for, and if the loss or the gradient is not finite."""

    loss: float
    stats: Mapping[Stat, float]
    physical_batch: int  # rows of the largest chunk that went through the model at once, on any rank
