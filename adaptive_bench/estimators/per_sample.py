"""Per-sample gradient norms from one ordinary backward pass."""

import math
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.coverage import covered_modules
from adaptive_bench.estimators.inner_products import inner_product_variance, why_not
from adaptive_bench.estimators.layers import mean_sample_sq_norm
from adaptive_bench.estimators.moments import MOMENTS, moments
from adaptive_bench.estimators.request import BackwardRequest, Finish
from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.execution.clock import Clock
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch
from adaptive_bench.validation import Count, Shrinkage, Whole, check_fields


@final
@dataclass(kw_only=True, eq=False)
class PerSample(GradientEstimator):
    """s = (1/B) sum_i |g_i|^2 by hooks on the layers; the batch goes through the model once, split only where it has to be.

    B times sample i's contribution to the batch gradient is taken as g_i. Without BatchNorm that is the gradient of the sample's
    own loss. Under BatchNorm in train mode the samples of a batch have no gradients of their own; the contributions still add up
    exactly to the batch gradient.

    `fraction` measures ceil(fraction B) rows only, `least` or more, drawn without replacement: s is then an unbiased estimate,
    and |g|^2 stays exact. INNER_PRODUCT_VARIANCE is over all rows, by one forward pass more, and is not to be had under BatchNorm
    or dropout.
    The first dimension of every layer's input has to be the batch's.
    """

    provides: ClassVar[frozenset[Stat]] = GradientEstimator.provides | {Stat.INNER_PRODUCT_VARIANCE}
    hooks: ClassVar[frozenset[Stat]] = GradientEstimator.hooks | MOMENTS | {Stat.INNER_PRODUCT_VARIANCE}

    fraction: Shrinkage = 1 / 8  # of the rows
    seed: Whole = 0
    least: Count = 1  # rows to measure of a batch that has as many

    def __post_init__(self) -> None:
        check_fields(self)
        self.generator = torch.Generator().manual_seed(self.seed)

    def _check_model(self, model: nn.Module, needs: AbstractSet[Stat], *, multiple_of: int, ranks: int) -> None:
        covered_modules(model)
        if Stat.INNER_PRODUCT_VARIANCE in needs and (reason := why_not(model)):
            raise ValueError(f"inner products cannot be measured on this model by sample: {reason}; choose estimator=microbatch")

    def _measure(self, work: BackwardRequest) -> tuple[Scalar, Finish]:
        samples = len(work.batch)
        with work.clock.running("measure"):
            modules, rows = covered_modules(work.model), self._draw(work.batch)
        recorder = _Recorder(
            modules, rows=rows, device=work.batch.targets.device, clock=work.clock, convolutions=self.convolutions
        )
        loss = work.backward(around=recorder.taking)

        def finish() -> Callable[[float], dict[Stat, Scalar]]:
            recorder.refuse_unseen()
            work.add_up()
            # a share of the gradient is loss_scale g_i / B: of the mean loss, and with the scale still in it
            with work.clock.running("measure"):
                measured = samples if rows is None else len(rows)
                (sum_of_sq_shares,) = work.ranks.all_reduce(recorder.sum_of_sq_shares())
                mean_sq_norm = (samples / work.loss_scale) ** 2 * sum_of_sq_shares / measured
                inner = inner_product_variance(work) if Stat.INNER_PRODUCT_VARIANCE in work.needs else math.nan
            seen = partial(moments, samples=samples, count=samples, weighted_sq_norms=samples * mean_sq_norm)
            return lambda sq_norm: {**seen(sq_norm), Stat.INNER_PRODUCT_VARIANCE: inner}

        return loss, finish

    def _draw(self, batch: Batch) -> Tensor | None:
        """Sorted positions of the rows to measure, on the CPU; None for all of them."""
        chosen = max(math.ceil(len(batch) * self.fraction), self.least)
        if chosen >= len(batch):
            return None
        rows = torch.randperm(len(batch), generator=self.generator)[:chosen]
        return rows.sort().values


class _Recorder:
    """Adds up squared norms while backward passes run, one for each chunk of the batch.

    The hook is on the output tensor: hooks on a module's backward pass forbid in-place operations after it.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        *,
        rows: Tensor | None,
        device: torch.device,
        clock: Clock,
        convolutions: dict[str, str],
    ) -> None:
        self._modules, self._rows, self._device, self._clock = list(modules), rows, device, clock
        self._convolutions = convolutions
        self._sums: list[Tensor] = []  # of the chosen rows' squared norms, by module and chunk
        self._seen: set[nn.Module] = set()
        self._samples, self._chosen = 0, rows  # of the chunk, whose chosen rows are counted from its first one
        self._inputs: dict[nn.Module, Tensor | None] = {}  # None: used up, so that memory is freed as the pass goes on
        self._handles: list[RemovableHandle] = []

    @contextmanager
    def taking(self, start: int, stop: int) -> Iterator[None]:
        """Take in the pass of these rows of the batch; the hooks are gone when the block is left."""
        with self._clock.running("measure"):
            self._samples, self._inputs = stop - start, {}
            if self._rows is not None:
                within = self._rows[(self._rows >= start) & (self._rows < stop)] - start
                self._chosen = within.to(self._device, non_blocking=True)
        self._handles = [module.register_forward_hook(self._keep) for module in self._modules]
        try:
            yield
        finally:
            for handle in self._handles:
                handle.remove()
        self._seen |= self._inputs.keys()

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
        assert inputs is not None, "one backward pass a chunk"
        if self._chosen is None or len(self._chosen):  # a chunk may have none of the rows that were drawn
            with self._clock.running("measure"):
                norms = mean_sample_sq_norm(module, inputs, gradient, rows=self._chosen, convolutions=self._convolutions)
                self._sums.append(norms.sum())

    def sum_of_sq_shares(self) -> Scalar:
        """Over the chosen rows of this rank and all parameters; there may be none."""
        return torch.stack(self._sums).sum().double() if self._sums else 0.0

    def refuse_unseen(self) -> None:
        """Raises ValueError if a parameter got a gradient although its module was never called."""
        for module in self._modules:
            if module not in self._seen and any(parameter.grad is not None for parameter in module.parameters(recurse=False)):
                raise ValueError(f"the parameters of {module} were used outside of its forward pass; choose estimator=microbatch")
