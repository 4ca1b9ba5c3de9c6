"""A small convolutional network for small images: a run takes seconds on a CPU."""

from collections.abc import Sequence

from torch import nn

from adaptive_bench.models.inputs import image_channels
from adaptive_bench.models.norm import norm_layer
from adaptive_bench.validation import Count, checked


@checked
def cnn_small(*, inputs: Sequence[int], outputs: int, width: Count = 16, norm: str = "batch") -> nn.Module:
    """Three 3x3 convolutions of 1, 2 and 4 times `width` channels, the last two with stride 2; global pooling; a linear layer."""
    layers: list[nn.Module] = []
    before = image_channels(inputs)
    for channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        layers += [nn.Conv2d(before, channels, 3, stride, padding=1, bias=norm == "none"), norm_layer(norm, channels), nn.ReLU()]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs))
