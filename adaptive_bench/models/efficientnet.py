"""EfficientNets: inverted residuals with squeeze-and-excitation and stochastic depth."""

from collections.abc import Sequence

import torchvision
from torch import nn

from adaptive_bench.models.norm import norm_factory
from adaptive_bench.models.stem import cifar_convolution, stem_channels
from adaptive_bench.validation import Dropped, checked


@checked
def efficientnet_b0(
    *,
    inputs: Sequence[int],
    outputs: int,
    norm: str = "batch",
    stem: str = "cifar",
    dropout: Dropped = 0.2,
    stochastic_depth: Dropped = 0.2,
) -> nn.Module:
    """EfficientNet-B0 of torchvision; with stem=cifar the first convolution has stride 1 instead of 2.

    It down-samples 16 times, with stem=imagenet 32 times. `dropout` is applied before the last layer; `stochastic_depth` is the
    probability that a row skips a residual block; it grows from 0 at the first block to this value at the last.
    Source: Tan and Le 2019, arXiv 1905.11946; stochastic depth: Huang et al. 2016, arXiv 1603.09382.
    """
    channels = stem_channels(stem, inputs, cifar=8, imagenet=16)
    model: nn.Module = torchvision.models.efficientnet_b0(
        num_classes=outputs, norm_layer=norm_factory(norm), dropout=dropout, stochastic_depth_prob=stochastic_depth
    )
    if stem == "cifar":
        model.set_submodule("features.0.0", cifar_convolution(channels, 32))
    return model
