"""The number format of forward pass and loss, and the loss scale that half precision needs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from adaptive_bench.streams.base import Batch, LossFunction
from adaptive_bench.validation import one_of

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GOOD_STEPS = 2000  # steps without an overflow before the loss scale is doubled
LARGEST_SCALE = 2.0**127  # the largest power of two in float32


class Precision:
    """`fp32`: every product in float32. `tf32`: those of matrices and convolutions from 10 bits of each number, on CUDA only.

    `bf16` and `fp16` by torch.autocast: weights, gradients and statistics stay in float32, as does the loss.

    fp16 cannot represent small gradients. Its loss is therefore multiplied by a scale, by the rule of torch.amp.GradScaler:
    2^16 at first, halved when a gradient overflows, doubled after 2,000 steps without an overflow.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Raises ValueError for an unknown name. Sets what this process makes of float32 on CUDA."""
        one_of("precision", name, tuple(PRECISIONS))
        self.name, self.device, self.is_half = name, device, PRECISIONS[name] != torch.float32
        # torch's own default for convolutions is TF32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        self.loss_scale = 2.0**16 if name == "fp16" else 1.0  # the loss is multiplied by it before the backward pass
        self._good_steps = 0  # since the scale last changed

    def autocast(self) -> AbstractContextManager[object]:
        """For a forward pass and its loss, not for the backward pass."""
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.name]) if self.is_half else nullcontext()

    def applied_to(self, loss_fn: LossFunction) -> LossFunction:
        """The same loss, computed in this precision."""
        if not self.is_half:
            return loss_fn

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            with self.autocast():
                return loss_fn(model, batch)

        return loss

    def overflowed(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether a gradient is not finite because of the loss scale. Sets the next scale, so call it once a step.

        With a scale below 1, a gradient that is not finite has another cause: the run diverges, as its next loss will tell.
        """
        if self.name != "fp16":
            return False
        scale, self._good_steps = self.loss_scale, self._good_steps + 1
        finite = [each.grad.isfinite().all() for each in parameters if each.grad is not None]
        overflow = bool(finite) and not torch.stack(finite).all()
        if overflow:
            self.loss_scale, self._good_steps = scale / 2, 0
        elif self._good_steps == GOOD_STEPS:
            self.loss_scale, self._good_steps = min(2 * scale, LARGEST_SCALE), 0
        return overflow and scale >= 1

    def check(self, model: nn.Module) -> None:
        """Raises ValueError if torch cannot compute layers such as the model's on the device in this precision."""
        if self.name == "tf32" and self.device.type != "cuda":
            raise ValueError("precision=tf32: only CUDA devices have it; take precision=fp32")
        recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
        with torch.random.fork_rng(devices=[]):  # initialising a layer draws random numbers
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
        """The loss scale, and the number of good steps since it last changed."""
        return {"loss_scale": self.loss_scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss_scale, self._good_steps = state["loss_scale"], state["good_steps"]
