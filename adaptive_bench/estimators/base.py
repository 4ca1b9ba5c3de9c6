"""The backward pass, and what is measured on it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.entropy import Entropy
from adaptive_bench.estimators.moments import IN_PIECES, MOMENTS
from adaptive_bench.estimators.request import BackwardRequest, BackwardResult, Finish
from adaptive_bench.estimators.vector import Scalar, component_variance, numbers, total_sq_norm
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.memory import Gauge, free_unused, gauge, ran_out
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.execution.snapshot import Snapshot
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch, LossFunction
from adaptive_bench.validation import Positive, check

STATE = ("epoch_sum", "generator", "convolutions")
EPOCH = frozenset({Stat.EPOCH_GRAD_SQ_NORM, Stat.EPOCH_COMPONENT_VARIANCE})


@dataclass(kw_only=True, eq=False)
class GradientEstimator(ABC):
    """Does the backward pass, leaves the mean gradient in `.grad`, measures what was asked for and nothing else.

    A subclass sees a batch in pieces; the statistics follow from the pieces here, once for all estimators.
    """

    provides: ClassVar[frozenset[Stat]] = (
        MOMENTS | EPOCH | {Stat.GRAD_NORM, Stat.COMPONENT_VARIANCE, Stat.ENTROPY, Stat.MEMORY_USED}
    )
    hooks: ClassVar[frozenset[Stat]] = frozenset({Stat.ENTROPY})  # what is measured by hooks on modules
    generator: torch.Generator | None = field(default=None, init=False, repr=False)  # of those that draw samples
    convolutions: dict[str, str] = field(default_factory=dict, init=False, repr=False)  # the fastest form by kind, on CUDA
    _epoch_sum: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)  # sum of g_i by parameter

    @final
    def check(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int = 1, ranks: int = 1) -> None:
        """To be called when a run is assembled, which will use batch sizes that are multiples of `multiple_of` on so many ranks.

        Raises ValueError for a need that cannot be measured, here or on this model or on batches of these sizes.
        """
        self._refuse_missing(needs)
        if needs & IN_PIECES:
            self._check_model(model, needs, multiple_of=multiple_of, ranks=ranks)

    @final
    def backward(
        self,
        loss_fn: LossFunction,
        model: nn.Module,
        batch: Batch,
        needs: AbstractSet[Stat],
        *,
        loss_scale: float = 1.0,
        chunks: PhysicalBatch | None = None,
        ranks: Ranks | None = None,
        clock: Clock | None = None,
    ) -> BackwardResult:
        """Replace every `.grad` by the gradient of the batch's mean loss and measure `needs` on the way.

        If the loss is not finite every `.grad` is None, and there are no statistics. `loss_scale` multiplies the loss of the
        backward pass only, as half precision wants it: loss, gradient and statistics come back without it. A gradient that is
        not finite stays as it is, for the caller to see; there are no statistics then, and the sum over the epoch leaves it out.
        `chunks` says how many rows go through the model at once. If memory runs out, the pass is made again in smaller chunks,
        with the same random numbers; `chunks` remembers the size that fits (None: it is forgotten). BatchNorm's running
        statistics, too, start again as they were, unless a batch of that size has fitted before.
        Each of the `ranks` is handed the same batch and computes its share of the rows; loss, gradient and statistics are those
        of the whole batch on each of them. Each rank chooses its own chunk size.
        What is done only to measure is charged to "measure" of the `clock`.

        Raises ValueError for a need that is not provided, and if a single row does not fit into memory.
        """
        self._refuse_missing(needs)
        check("loss_scale", loss_scale, Positive)
        model.zero_grad(set_to_none=True)
        chunks, ranks = PhysicalBatch() if chunks is None else chunks, Ranks() if ranks is None else ranks
        clock = Clock(batch.targets.device) if clock is None else clock
        memory = gauge(batch.targets.device) if Stat.MEMORY_USED in needs else None
        if memory is not None:
            memory.reset()
        work = BackwardRequest(
            loss_fn=loss_fn,
            model=model,
            batch=batch,
            needs=needs,
            loss_scale=loss_scale,
            chunks=chunks,
            ranks=ranks,
            clock=clock,
        )
        work, share, finish = self._pass(work)
        of_all, *rows = ranks.all_reduce(share, *(work.physical_batch * (rank == ranks.rank) for rank in range(ranks.count)))
        of_pieces, stats = finish(), dict[Stat, float]()
        wanted: Scalar = 0.0
        gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
        if needs:
            with clock.running("measure"):
                wanted = total_sq_norm(gradients.values())
        loss, sq_norm = numbers([of_all, wanted])  # a device's first wait of the step, and without needs its last one
        if not math.isfinite(loss):
            model.zero_grad(set_to_none=True)
        elif needs and math.isfinite(sq_norm):
            with clock.running("measure"):
                stats = self._statistics(work, gradients, sq_norm, of_pieces, memory)
        return BackwardResult(loss=loss, stats=stats, physical_batch=int(max(rows)))

    def _pass(self, asked: BackwardRequest) -> tuple[BackwardRequest, Scalar, Finish | Callable[[], None]]:
        """What `_measure` returns of this rank's pass, made again in smaller chunks where memory runs out, and which it was."""
        measured = bool(asked.needs)
        buffers = asked.chunks.is_new(asked.batch, measured=measured)
        before = Snapshot(asked.model, generator=self.generator, buffers=buffers)
        while True:
            entropy = Entropy(clock=asked.clock) if Stat.ENTROPY in asked.needs else None
            work = replace(asked, entropy=entropy)
            try:
                with entropy.watching(work.model) if entropy else nullcontext():
                    share, finish = self._measure(work) if work.needs & IN_PIECES else (work.backward(), work.add_up)
                work.chunks.fitted(work.batch, measured=measured)
                return work, share, finish
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                work.chunks.halve(work.physical_batch, error, width=work.batch.width)
            before.restore()  # outside `except`: the exception keeps the activations alive
            free_unused()

    def hooked(self, needs: AbstractSet[Stat]) -> frozenset[Stat]:
        """Those of the needs that are measured by hooks on modules, which compiled code may skip."""
        return frozenset(needs & self.hooks)

    @abstractmethod
    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        """Raises ValueError if this model cannot be seen in pieces, or batches of these sizes on so many ranks cannot."""

    @abstractmethod
    def _measure(self, work: BackwardRequest) -> tuple[Scalar, Finish]:
        """One rank's backward pass of its part of the batch, with every `.grad` None before: its share of the loss, and the rest.

        It must not communicate: when memory runs out, this pass is repeated on one rank only.
        """

    def _refuse_missing(self, needs: AbstractSet[Stat]) -> None:
        if missing := needs - self.provides:
            raise ValueError(
                f"{type(self).__name__} cannot measure {', '.join(sorted(missing))}; "
                f"it provides {', '.join(sorted(self.provides))}: choose another estimator or another scheduler"
            )

    def _statistics(
        self,
        work: BackwardRequest,
        gradients: Mapping[str, Tensor],
        sq_norm: float,
        pieces: Callable[[float], Mapping[Stat, Scalar]] | None,
        memory: Gauge | None,
    ) -> dict[Stat, float]:
        stats: dict[Stat, Scalar] = {Stat.GRAD_NORM: math.sqrt(sq_norm)}
        if work.entropy is not None:
            stats[Stat.ENTROPY] = work.entropy.value(work.ranks)
        if Stat.COMPONENT_VARIANCE in work.needs:
            stats[Stat.COMPONENT_VARIANCE] = component_variance(gradients.values(), sq_norm=sq_norm)
        if memory is not None:
            split = work.chunks.limit is not None and work.physical_batch < len(work.batch)
            stats[Stat.MEMORY_USED] = max(work.ranks.gather(math.inf if split else memory.used()))
        if pieces is not None:
            stats |= pieces(sq_norm)
        if work.needs & EPOCH:
            self._add_to_epoch(gradients, len(work.batch))
            stats[Stat.EPOCH_GRAD_SQ_NORM] = of_epoch = total_sq_norm(self._epoch_sum.values())
            if Stat.EPOCH_COMPONENT_VARIANCE in work.needs:
                stats[Stat.EPOCH_COMPONENT_VARIANCE] = component_variance(self._epoch_sum.values(), sq_norm=of_epoch)
        return dict(zip(work.needs, numbers([stats[stat] for stat in work.needs]), strict=True))

    def _add_to_epoch(self, gradients: Mapping[str, Tensor], samples: int) -> None:
        for name, gradient in gradients.items():
            before = self._epoch_sum.get(name, torch.zeros_like(gradient))
            # the sum of a checkpoint may have been loaded to another device
            self._epoch_sum[name] = before.to(gradient.device).add_(gradient, alpha=samples)

    @final
    def start_epoch(self) -> None:
        """Reset the sum of EPOCH_GRAD_SQ_NORM and EPOCH_COMPONENT_VARIANCE."""
        self._epoch_sum = {}

    @final
    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to measure the same numbers, under the names of STATE."""
        return {
            "epoch_sum": {name: total.clone() for name, total in self._epoch_sum.items()},
            "generator": None if self.generator is None else self.generator.get_state(),
            "convolutions": dict(self.convolutions),
        }

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`; forms of convolutions that were chosen since then stay.

        Raises ValueError for the state of another kind of estimator.
        """
        if set(state) != {*STATE} or (state["generator"] is None) != (self.generator is None):
            raise ValueError(
                f"this state does not belong to {type(self).__name__}: {', '.join(STATE)} are expected, "
                f"{'without' if self.generator is None else 'with'} a generator; load it where it was saved from"
            )
        self.convolutions.update(state["convolutions"])
        self._epoch_sum = {name: total.clone() for name, total in state["epoch_sum"].items()}
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())  # a checkpoint may have been loaded to the run's device
