"""The normalisation slot of the convolutional models."""

from functools import partial

from torch import nn

NORMS = ("batch", "group", "none")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """BatchNorm, GroupNorm with groups of four or more channels (at most 32 groups), or nothing."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(max(1, min(32, channels // 4)), channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm={norm!r}: one of {', '.join(NORMS)} is expected")


def norm_factory(norm: str) -> partial[nn.Module]:
    """The same as a function of the channels, as torchvision's constructors take it."""
    return partial(norm_layer, norm)
