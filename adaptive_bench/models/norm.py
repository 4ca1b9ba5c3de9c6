"""The normalisation slot of the convolutional models."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from adaptive_bench.validation import one_of

NORMS = ("batch", "group", "none")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """BatchNorm, GroupNorm with `groups(channels)` groups, or nothing."""
    check_norm(norm)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    group = nn.GroupNorm(groups(channels), channels)
    group.register_forward_hook(_as_it_came)
    return group


def _as_it_came(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """CUDA's group norm gives images with channels first, which makes the convolutions after it slower."""
    last = torch.channels_last
    return output.contiguous(memory_format=last) if inputs[0].is_contiguous(memory_format=last) else output


def groups(channels: int) -> int:
    """The largest divisor of the channels that is at most 32 and leaves four channels or more in a group; 1 if there is none."""
    return next(count for count in range(max(1, min(32, channels // 4)), 0, -1) if channels % count == 0)


def norm_factory(norm: str) -> Callable[[int], nn.Module] | None:
    """The same as a function of the channels, as torchvision's constructors take it.

    None for `batch`: it stands for a model's own BatchNorm, whose momentum and epsilon are not the same in all of them.
    """
    check_norm(norm)
    return None if norm == "batch" else partial(norm_layer, norm)


def check_norm(norm: str) -> None:
    """Raises ValueError unless `norm` is one of NORMS."""
    one_of("norm", norm, NORMS)
