"""Per-sample gradient norms from one ordinary backward pass."""

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.coverage import covered_modules
from adaptive_bench.estimators.layers import sample_sq_norms
from adaptive_bench.estimators.moments import Pieces
from adaptive_bench.estimators.stopwatch import Stopwatch
from adaptive_bench.estimators.work import Pass, Work
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.streams.base import Batch


@final
@dataclass(kw_only=True, eq=False)
class PerSample(GradientEstimator):
    """s = (1/B) sum_i |g_i|^2 by hooks on the layers; the batch is never split and goes through the model once.

    B times sample i's contribution to the batch gradient is taken as g_i. Without BatchNorm that is the gradient of the sample's
    own loss. Under BatchNorm in train mode the samples of a batch have no gradients of their own; the contributions still add up
    exactly to the batch gradient.

    `fraction` measures ceil(fraction B) rows only, drawn without replacement: s is then an unbiased estimate, |g|^2 stays exact.
    The first dimension of every layer's input has to be the batch's.
    """

    fraction: float = 1 / 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction!r}: the share of the rows to measure is expected, above 0 and at most 1")
        self.generator = torch.Generator().manual_seed(self.seed)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int) -> None:
        covered_modules(model)

    def _measure(self, work: Work) -> Pass:
        samples, watch = len(work.batch), work.watch
        with watch.running():
            modules, rows = covered_modules(work.model), self._draw(work.batch)
        with _Recorder(modules, samples=samples, rows=rows, watch=watch) as recorder:
            loss = work.backward(work.batch)
        if not math.isfinite(loss):
            return Pass(loss=loss, physical_batch=samples, pieces=None)
        recorder.refuse_unseen()
        # a share of the gradient is loss_scale g_i / B: of the mean loss, and with the scale still in it
        with watch.running():
            mean_sq_norm = (samples / work.loss_scale) ** 2 * recorder.mean_sq_share()
        pieces = Pieces(samples=samples, count=samples, weighted_sq_norms=samples * mean_sq_norm)
        return Pass(loss=loss, physical_batch=samples, pieces=pieces)

    def _draw(self, batch: Batch) -> Tensor | None:
        """Sorted positions of the rows to measure; None for all of them."""
        chosen = math.ceil(len(batch) * self.fraction)
        if chosen == len(batch):
            return None
        rows = torch.randperm(len(batch), generator=self.generator)[:chosen]
        return rows.sort().values.to(batch.targets.device)


class _Recorder:
    """Adds up squared norms while a backward pass runs; the hooks are gone when the block is left.

    The hook at a module's output is one on the tensor: hooks on a module's backward pass forbid in-place operations behind it.
    """

    def __init__(self, modules: Iterable[nn.Module], *, samples: int, rows: Tensor | None, watch: Stopwatch) -> None:
        self.sq_norms: list[Tensor] = []  # (rows,) of each module
        self._modules, self._samples, self._rows, self._watch = list(modules), samples, rows, watch
        self._inputs: dict[nn.Module, Tensor | None] = {}  # None: used up, so that memory is freed as the pass goes on
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(self._keep) for module in self._modules]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        if module in self._inputs:
            raise ValueError(
                f"{module} was applied twice in one forward pass: the norms of the two gradients do not give that of their sum; "
                "choose estimator=microbatch"
            )
        if len(args[0]) != self._samples:
            raise ValueError(
                f"{module} got an input of shape {tuple(args[0].shape)} for a batch of {self._samples}: "
                "one row a sample is expected; put the batch first or choose estimator=microbatch"
            )
        self._inputs[module] = args[0].detach()
        self._handles.append(output.register_hook(partial(self._add, module)))  # type: ignore[no-untyped-call]

    def _add(self, module: nn.Module, gradient: Tensor) -> None:
        inputs, self._inputs[module] = self._inputs[module], None
        assert inputs is not None, "one backward pass a recorder"
        with self._watch.running():
            self.sq_norms.append(sample_sq_norms(module, inputs, gradient, rows=self._rows))

    def mean_sq_share(self) -> float:
        """Of the chosen rows, over all parameters."""
        return float(torch.stack(self.sq_norms).sum(0).mean())

    def refuse_unseen(self) -> None:
        """Raises ValueError if a parameter got a gradient although its module was never called."""
        for module in self._modules:
            if module not in self._inputs and any(parameter.grad is not None for parameter in module.parameters(recurse=False)):
                raise ValueError(f"the parameters of {module} were used outside of its forward pass; choose estimator=microbatch")
