"""What a pass through a model changes besides gradients, kept so that it can be undone."""

from typing import Any

import torch
from torch import nn


def random_state(device: torch.device) -> dict[str, Any]:
    """Torch's generators, which dropout draws from: the CPU's, and that of a CUDA device, which a run on the CPU leaves alone."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None}


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


class Snapshot:
    """What passes through a model change besides its gradients, so that they can be made again or undone.

    These are torch's random numbers, those of `generator`, and buffers such as BatchNorm's running statistics, of which
    `buffers=False` keeps no copy.
    """

    def __init__(self, model: nn.Module, *, generator: torch.Generator | None = None, buffers: bool = True) -> None:
        self._model, self._generator = model, generator
        self._device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        self._random = random_state(self._device)
        self._drawn = None if generator is None else generator.get_state()
        self._buffers = [(buffer, buffer.clone()) for buffer in model.buffers()] if buffers else []

    def restore(self) -> None:
        """Go back; every `.grad` is None then."""
        self._model.zero_grad(set_to_none=True)
        restore_random_state(self._random, self._device)
        if self._generator is not None and self._drawn is not None:
            self._generator.set_state(self._drawn)
        for buffer, kept in self._buffers:
            buffer.copy_(kept)
