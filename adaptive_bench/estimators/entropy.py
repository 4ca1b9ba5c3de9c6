"""Mean predictive entropy, measured in the training forward pass."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators.tiles import tile_size, wide
from adaptive_bench.estimators.vector import Scalar
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.ranks import Ranks


@dataclass(kw_only=True)
class Entropy:
    """Mean of H = -sum_c p_c log p_c over log C, 0 to 1, p being the softmax of the model's outputs (..., C).

    An output of width one is logistic regression: C = 2. A model may give its logits first in a tuple, as language models do that
    also give their state. The mean is over all positions that went through the model, in however many pieces, but for padding.
    """

    clock: Clock
    real: Tensor | None = field(default=None, init=False)  # which positions of the next pass are real; None: all
    _total: Scalar = field(default=0.0, init=False)
    _positions: int = field(default=0, init=False)

    def value(self, ranks: Ranks) -> Scalar:
        """The mean so far, over all ranks; nan if the model was never called."""
        total, positions = ranks.all_reduce(self._total, self._positions)
        return total / positions if positions else math.nan

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Observe every forward pass of the model; the hook is removed afterwards."""
        handle = model.register_forward_hook(self._add)
        try:
            yield
        finally:
            handle.remove()

    def _add(self, _: nn.Module, __: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        with self.clock.running("measure"), torch.no_grad():
            logits = output[0] if isinstance(output, tuple) else output
            logits = logits.detach().reshape(-1, logits.shape[-1])
            logits = logits if self.real is None else logits[self.real.flatten()]
            for part in torch.split(logits, tile_size(logits)):
                self._total = self._total + _entropies(part).sum()
            self._positions += len(logits)


def _entropies(logits: Tensor) -> Tensor:
    """(n, C) -> (n,), in units of log C."""
    logits = wide(logits)
    if logits.shape[1] == 1:
        logits = F.pad(logits, (1, 0))  # the sigmoid is the softmax of (0, logit)
    entropies: Tensor = torch.special.entr(logits.softmax(1)).sum(1)
    return entropies / math.log(logits.shape[1])
