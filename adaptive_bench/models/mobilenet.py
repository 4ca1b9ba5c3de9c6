"""MobileNets of the third generation: inverted residuals, some with squeeze-and-excitation."""

from collections.abc import Callable, Sequence
from functools import partial

import torchvision
from torch import nn

from adaptive_bench.models.norm import norm_factory
from adaptive_bench.models.stem import cifar_convolution, stem_channels
from adaptive_bench.validation import Dropped, Shrinkage, checked


def mobilenet_v3_small(
    *,
    inputs: Sequence[int],
    outputs: int,
    norm: str = "batch",
    stem: str = "cifar",
    dropout: float = 0.2,
    batch_norm_momentum: float = 0.01,
) -> nn.Module:
    """MobileNetV3-Small of torchvision; with stem=cifar the first convolution has stride 1 instead of 2.

    It down-samples 16 times, with stem=imagenet 32 times. `dropout` is applied before the last layer.
    `batch_norm_momentum` is the weight of the newest batch in the running statistics that evaluations use. At torchvision's 0.01
    they need several hundred steps to settle, during which evaluations stay at chance however well the training goes, and a rule
    that takes few large steps waits longer than one that takes many small ones: runs of few steps want 0.1 or norm=group.
    Source: Howard et al. 2019, arXiv 1905.02244, table 2.
    """
    return _of_torchvision(
        torchvision.models.mobilenet_v3_small,
        inputs=inputs,
        outputs=outputs,
        norm=norm,
        stem=stem,
        dropout=dropout,
        batch_norm_momentum=batch_norm_momentum,
    )


def mobilenet_v3_large(
    *,
    inputs: Sequence[int],
    outputs: int,
    norm: str = "batch",
    stem: str = "cifar",
    dropout: float = 0.2,
    batch_norm_momentum: float = 0.01,
) -> nn.Module:
    """MobileNetV3-Large of torchvision; with stem=cifar the first convolution has stride 1 instead of 2.

    It down-samples 16 times, with stem=imagenet 32 times. `dropout` and `batch_norm_momentum` are as in the small one.
    Source: Howard et al. 2019, arXiv 1905.02244, table 1.
    """
    return _of_torchvision(
        torchvision.models.mobilenet_v3_large,
        inputs=inputs,
        outputs=outputs,
        norm=norm,
        stem=stem,
        dropout=dropout,
        batch_norm_momentum=batch_norm_momentum,
    )


@checked
def _of_torchvision(
    make: Callable[..., nn.Module],
    *,
    inputs: Sequence[int],
    outputs: int,
    norm: str,
    stem: str,
    dropout: Dropped,
    batch_norm_momentum: Shrinkage,
) -> nn.Module:
    channels = stem_channels(stem, inputs, cifar=8, imagenet=16)
    batch_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=batch_norm_momentum)  # eps: torchvision's for this family
    model = make(num_classes=outputs, norm_layer=norm_factory(norm) or batch_norm, dropout=dropout)
    if stem == "cifar":
        model.set_submodule("features.0.0", cifar_convolution(channels, 16))
    return model
