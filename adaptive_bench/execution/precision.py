"""The number format of forward pass and loss, and the loss scale that half precision needs."""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.request import LossFunction
from adaptive_bench.estimators.vector import total_sq_norm
from adaptive_bench.streams.base import Batch
from adaptive_bench.validation import one_of

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """`bf16` and `fp16` by torch.autocast: weights, gradients and statistics stay in float32, as does the loss.

    fp16 has so few exponents that small gradients vanish. Its loss is multiplied by a scale, which follows
    torch.amp.GradScaler: 2^16 at first, halved when a gradient overflows, doubled after 2,000 steps without an overflow.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Raises ValueError for an unknown name."""
        one_of("precision", name, tuple(PRECISIONS))
        self.name, self.device = name, device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self._scaler.scale(torch.zeros((), device=device))  # it has no scale before it has been used
        # A scaler looks for overflow in the gradients of an optimiser, and divides them, which the estimators have done: they
        # need the gradient of every piece of a batch. So it is shown their norm, as the gradient of a single number.
        self._norm = nn.Parameter(torch.zeros((), device=device))
        self._shown = torch.optim.SGD([self._norm])

    @property
    def loss_scale(self) -> float:
        """What the loss of the next backward pass is to be multiplied by."""
        return self._scaler.get_scale()

    def autocast(self) -> AbstractContextManager[object]:
        """For a forward pass and its loss, not for the backward pass."""
        return nullcontext() if self.name == "fp32" else torch.autocast(self.device.type, dtype=PRECISIONS[self.name])

    def applied_to(self, loss_fn: LossFunction) -> LossFunction:
        """The same loss, computed in this precision."""

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            with self.autocast():
                return loss_fn(model, batch)

        return loss

    def overflowed(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether the loss scale has made a gradient overflow; the next scale follows from that. To be asked once a step.

        A scale below 1 is not to blame for a gradient that is not finite: such a run diverges, and its next loss shows it.
        """
        if not self._scaler.is_enabled():
            return False
        scale, norm = self.loss_scale, math.sqrt(total_sq_norm(each.grad for each in parameters if each.grad is not None))
        self._norm.grad = torch.full_like(self._norm, norm)
        self._scaler.unscale_(self._shown)
        self._scaler.update()
        return scale >= 1 and not math.isfinite(norm)

    def check(self, model: nn.Module) -> None:
        """Raises ValueError if torch cannot compute layers such as the model's on the device in this precision."""
        recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
        with torch.random.fork_rng(devices=[]):  # an initialisation draws numbers that the run's dropout will want
            layer = (nn.LSTM if recurrent else nn.Linear)(1, 1).to(self.device)
        try:
            with self.autocast():
                layer(torch.zeros(1, 1, device=self.device))
        except RuntimeError as error:
            raise ValueError(
                f"precision={self.name}: torch cannot compute {type(layer).__name__} so on this {self.device.type} "
                f"({str(error).partition('.')[0]}); take precision=fp32" + (" or precision=bf16" if self.name == "fp16" else "")
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """The loss scale, and how long it has held; nothing without one."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scaler.load_state_dict(state)
