"""The stem of torchvision's convolutional networks: the layers before the first block."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from adaptive_bench.models.inputs import image_channels, written
from adaptive_bench.validation import one_of


def stem_channels(stem: str, inputs: Sequence[int], *, cifar: int, imagenet: int) -> int:
    """The channels of the images, (channels, height, width), that are to go through a stem.

    `cifar` and `imagenet` are the least pixels a side behind each: half of the whole network's down-sampling, so that only the
    last halving may find a single pixel. Raises ValueError for smaller images, for other stems and, as torchvision's own stems
    have weights for three channels, for others before `stem=imagenet`.
    """
    one_of("stem", stem, ("cifar", "imagenet"))
    channels, least = image_channels(inputs), cifar if stem == "cifar" else imagenet
    if stem == "imagenet" and channels != 3:
        raise ValueError(f"stem=imagenet takes images of 3 channels, got {channels}; choose model.stem=cifar")
    if min(inputs[1:]) < least:
        raise ValueError(
            f"inputs={written(inputs)}: with stem={stem} this model takes images of {least} x {least} pixels and more, smaller "
            "ones would be down-sampled to nothing; take a data set of larger images, or a model or stem that down-samples less"
        )
    return channels


def cifar_convolution(channels: int, width: int, *, fan: Literal["fan_in", "fan_out"] = "fan_out") -> nn.Conv2d:
    """3x3, without stride or bias; initialised as He et al. (2015, arXiv 1502.01852), eq. 10 (fan_in) or 14 (fan_out)."""
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode=fan, nonlinearity="relu")
    return convolution
