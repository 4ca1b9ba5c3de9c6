"""Densely connected networks."""

from collections.abc import Sequence

import torchvision
from torch import nn

from adaptive_bench.models.norm import check_norm, norm_layer
from adaptive_bench.models.stem import cifar_convolution, stem_channels
from adaptive_bench.validation import Count, Dropped, checked


@checked
def densenet121(
    *, inputs: Sequence[int], outputs: int, norm: str = "batch", stem: str = "cifar", dropout: Dropped = 0.0
) -> nn.Module:
    """DenseNet-121 of torchvision (growth rate 32); stem=cifar begins with a 3x3 convolution without stride and without pooling.

    It down-samples 8 times, with stem=imagenet 32 times. `dropout` is applied after each dense layer.
    Source: Huang et al. 2017, arXiv 1608.06993.
    """
    check_norm(norm)
    # nothing smaller than the down-sampling: its poolings have no padding, and a single pixel is not theirs to halve
    channels = stem_channels(stem, inputs, cifar=8, imagenet=32)
    return _adapted(
        torchvision.models.densenet121(num_classes=outputs, drop_rate=dropout),
        first=cifar_convolution(channels, 64, fan="fan_in") if stem == "cifar" else None,
        norm=norm,
    )


@checked
def densenet22(
    *, inputs: Sequence[int], outputs: int, norm: str = "batch", growth: Count = 12, dropout: Dropped = 0.0
) -> nn.Module:
    """DenseNet-BC of 22 layers: three blocks of three dense layers with bottlenecks; transitions halve the channels.

    It down-samples 4 times, and first has twice `growth` channels. Source: Huang et al. 2017, arXiv 1608.06993, section 3.
    """
    check_norm(norm)
    channels = stem_channels("cifar", inputs, cifar=2, imagenet=2)
    return _adapted(
        torchvision.models.DenseNet(growth, (3, 3, 3), 2 * growth, num_classes=outputs, drop_rate=dropout),
        first=cifar_convolution(channels, 2 * growth, fan="fan_in"),
        norm=norm,
    )


def _adapted(model: nn.Module, *, first: nn.Module | None, norm: str) -> nn.Module:
    """With the `first` convolution instead of torchvision's and its pooling, and with `norm`."""
    if first is not None:
        model.set_submodule("features.conv0", first)
        model.set_submodule("features.pool0", nn.Identity())
    if norm != "batch":  # its constructor takes no other norm
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.BatchNorm2d):
                model.set_submodule(name, norm_layer(norm, module.num_features))
    return model
