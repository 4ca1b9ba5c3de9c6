"""EfficientNets: inverted residuals with squeeze-and-excitation and stochastic depth."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from adaptive_bench.models.norm import norm_factory
from adaptive_bench.models.stem import cifar_convolution, stem_channels
from adaptive_bench.validation import Dropped, Multiple, checked

# expansion, kernel, stride, channels in and out, layers: table 1 of the source
STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)


@checked
def efficientnet_b0(
    *,
    inputs: Sequence[int],
    outputs: int,
    norm: str = "batch",
    stem: str = "cifar",
    width: Multiple = 1.0,
    depth: Multiple = 1.0,
    dropout: Dropped = 0.2,
    stochastic_depth: Dropped = 0.2,
) -> nn.Module:
    """EfficientNet-B0 of torchvision, its channels times `width` and its layers times `depth`, as B1 to B7 are made of it.

    With stem=cifar the first convolution has stride 1 instead of 2, and the network down-samples 16 times, else 32 times.
    `dropout` is applied before the last layer; `stochastic_depth` is the probability that a row skips a residual block; it grows
    from 0 at the first block to this value at the last.
    Source: Tan and Le 2019, arXiv 1905.11946, table 1; stochastic depth: Huang et al. 2016, arXiv 1603.09382.
    """
    channels = stem_channels(stem, inputs, cifar=8, imagenet=16)
    stages = [MBConvConfig(*stage, width_mult=width, depth_mult=depth) for stage in STAGES]
    model: nn.Module = EfficientNet(
        stages,
        dropout,
        num_classes=outputs,
        norm_layer=norm_factory(norm),
        stochastic_depth_prob=stochastic_depth,
    )
    if stem == "cifar":
        model.set_submodule("features.0.0", cifar_convolution(channels, stages[0].input_channels))
    return model
