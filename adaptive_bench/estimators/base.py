"""The backward pass, and what is measured on it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.moments import MOMENTS, Pieces
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.streams.base import Batch

LossFunction = Callable[[nn.Module, Batch], Tensor]  # mean loss over the batch's samples, a scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one backward pass gave. `stats` is empty if nothing was asked for, and if the loss is not finite."""

    loss: float
    stats: Mapping[Stat, float]
    physical_batch: int  # rows of the largest piece that went through the model at once
    seconds: float  # the part of the call's wall time that was spent on measuring


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A finished backward pass, before any statistic is computed from it."""

    loss: float
    physical_batch: int
    pieces: Pieces | None  # None: not looked at in pieces, or the loss is not finite


@dataclass(kw_only=True, eq=False)
class GradientEstimator(ABC):
    """Does the backward pass, leaves the mean gradient in `.grad`, measures what was asked for and nothing else.

    A subclass sees a batch in pieces; the statistics follow from the pieces here, once for all estimators.
    """

    provides: ClassVar[frozenset[Stat]] = MOMENTS | {Stat.GRAD_NORM, Stat.EPOCH_GRAD_SQ_NORM}
    generator: torch.Generator | None = field(default=None, init=False, repr=False)  # of those that draw samples
    _epoch_sum: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)  # sum of g_i by parameter

    @final
    def check(self, model: nn.Module, needs: AbstractSet[Stat]) -> None:
        """To be called when a run is assembled. Raises ValueError for a need that cannot be measured, here or on this model."""
        if missing := needs - self.provides:
            raise ValueError(
                f"{type(self).__name__} cannot measure {', '.join(sorted(missing))}; "
                f"it provides {', '.join(sorted(self.provides))}: choose another estimator or another scheduler"
            )
        if needs & MOMENTS:
            self._check_model(model)

    @final
    def backward(self, loss_fn: LossFunction, model: nn.Module, batch: Batch, needs: AbstractSet[Stat]) -> Measurement:
        """Replace every `.grad` by the gradient of the batch's mean loss and measure `needs` on the way.

        If the loss is not finite it comes back at once, and every `.grad` is None.
        """
        model.zero_grad(set_to_none=True)
        watch = Stopwatch(device=batch.targets.device)
        done = self._measure(loss_fn, model, batch, watch) if needs & MOMENTS else _plain(loss_fn, model, batch)
        stats: dict[Stat, float] = {}
        if needs and math.isfinite(done.loss):
            with watch.running():
                stats = self._statistics(model, len(batch), done.pieces, needs)
        return Measurement(loss=done.loss, stats=stats, physical_batch=done.physical_batch, seconds=watch.seconds)

    @abstractmethod
    def _check_model(self, model: nn.Module) -> None:
        """Raises ValueError if this model cannot be seen in pieces."""

    @abstractmethod
    def _measure(self, loss_fn: LossFunction, model: nn.Module, batch: Batch, watch: Stopwatch) -> Pass:
        """Fill the empty `.grad`s with the mean gradient, or leave them None if the loss is not finite.

        What is done only to measure runs under `watch`.
        """

    def _statistics(self, model: nn.Module, samples: int, pieces: Pieces | None, needs: AbstractSet[Stat]) -> dict[Stat, float]:
        gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
        sq_norm = total_sq_norm(gradients.values())
        stats = {Stat.GRAD_NORM: math.sqrt(sq_norm)}
        if pieces is not None:
            stats |= pieces.moments(sq_norm)
        if Stat.EPOCH_GRAD_SQ_NORM in needs:
            self._add_to_epoch(gradients, samples)
            stats[Stat.EPOCH_GRAD_SQ_NORM] = total_sq_norm(self._epoch_sum.values())
        return {stat: stats[stat] for stat in needs}

    def _add_to_epoch(self, gradients: Mapping[str, Tensor], samples: int) -> None:
        for name, gradient in gradients.items():
            before = self._epoch_sum.get(name, torch.zeros_like(gradient))
            # the sum of a checkpoint may have been loaded to another device
            self._epoch_sum[name] = before.to(gradient.device).add_(gradient, alpha=samples)

    @final
    def start_epoch(self) -> None:
        """Forget the sum behind EPOCH_GRAD_SQ_NORM."""
        self._epoch_sum = {}

    @final
    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to measure the same numbers: {"epoch_sum", "generator"}."""
        generator = None if self.generator is None else self.generator.get_state()
        return {"epoch_sum": {name: total.clone() for name, total in self._epoch_sum.items()}, "generator": generator}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`. Raises ValueError for the state of another kind of estimator."""
        if set(state) != {"epoch_sum", "generator"} or (state["generator"] is None) != (self.generator is None):
            raise ValueError(
                f"this state does not belong to {type(self).__name__}: epoch_sum and "
                f"{'no generator' if self.generator is None else 'a generator'} are expected; load it where it was saved from"
            )
        self._epoch_sum = {name: total.clone() for name, total in state["epoch_sum"].items()}
        if self.generator is not None:
            self.generator.set_state(state["generator"].cpu())  # a checkpoint may have been loaded to the run's device


def backward_if_finite(loss: Tensor) -> float:
    """The loss as a number, after its backward pass if it is finite."""
    value = loss.item()
    if math.isfinite(value):
        loss.backward()  # type: ignore[no-untyped-call]
    return value


def total_sq_norm(tensors: Iterable[Tensor]) -> float:
    """|v|^2 of the vector v of all entries."""
    norm = float(nn.utils.get_total_norm(list(tensors)))
    return norm * norm  # infinite where norm**2 would raise OverflowError


def _plain(loss_fn: LossFunction, model: nn.Module, batch: Batch) -> Pass:
    return Pass(loss=backward_if_finite(loss_fn(model, batch)), physical_batch=len(batch), pieces=None)
