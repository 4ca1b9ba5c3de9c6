"""Residual networks: the CIFAR families of He et al. (2016), with basic and bottleneck blocks, and torchvision's ResNets."""

from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor, nn

from adaptive_bench.models.inputs import image_channels
from adaptive_bench.models.norm import norm_factory, norm_layer
from adaptive_bench.models.stem import cifar_convolution, stem_channels


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (option B: a 1x1 convolution where the shape changes)."""

    expansion = 1  # channels of the output by those of the 3x3 convolutions

    def __init__(self, before: int, channels: int, *, stride: int, norm: str) -> None:
        super().__init__()
        after = self.expansion * channels
        self.residual = self._residual(before, channels, stride=stride, norm=norm)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm_layer(norm, after))
        )

    def _residual(self, before: int, channels: int, *, stride: int, norm: str) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
            norm_layer(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class Bottleneck(BasicBlock):
    """Convolutions of 1x1, 3x3 (with the stride) and 1x1 beside the same shortcut; four times as many channels come out."""

    expansion = 4

    def _residual(self, before: int, channels: int, *, stride: int, norm: str) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, channels, 1, bias=False),
            norm_layer(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            norm_layer(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, self.expansion * channels, 1, bias=False),
            norm_layer(norm, self.expansion * channels),
        )


def cifar_resnet(
    *, depth: int, inputs: Sequence[int], outputs: int, norm: str = "batch", block: type[BasicBlock] = BasicBlock
) -> nn.Module:
    """The network of He et al. (2016) for small images: three stages of n blocks with 16, 32 and 64 channels.

    It has 6 n + 2 layers with basic blocks (arXiv 1512.03385, section 4.2) and 9 n + 2 with bottlenecks (arXiv 1603.05027).
    """
    layers_a_block = 2 if block is BasicBlock else 3
    blocks, rest = divmod(depth - 2, 3 * layers_a_block)
    if blocks < 1 or rest:
        raise ValueError(f"depth={depth}: {3 * layers_a_block} n + 2 is expected")
    layers: list[nn.Module] = [nn.Conv2d(image_channels(inputs), 16, 3, padding=1, bias=False), norm_layer(norm, 16), nn.ReLU()]
    before = 16
    for channels in (16, 32, 64):
        for at in range(blocks):
            layers.append(block(before, channels, stride=2 if at == 0 and channels > 16 else 1, norm=norm))
            before = block.expansion * channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet8(*, inputs: Sequence[int], outputs: int, norm: str = "batch") -> nn.Module:
    """ResNet-8: one block per stage."""
    return cifar_resnet(depth=8, inputs=inputs, outputs=outputs, norm=norm)


def resnet11(*, inputs: Sequence[int], outputs: int, norm: str = "batch") -> nn.Module:
    """ResNet-11: one bottleneck block per stage."""
    return cifar_resnet(depth=11, inputs=inputs, outputs=outputs, norm=norm, block=Bottleneck)


def resnet20(*, inputs: Sequence[int], outputs: int, norm: str = "batch") -> nn.Module:
    """ResNet-20: three blocks per stage."""
    return cifar_resnet(depth=20, inputs=inputs, outputs=outputs, norm=norm)


def resnet18(*, inputs: Sequence[int], outputs: int, norm: str = "batch", stem: str = "cifar") -> nn.Module:
    """ResNet-18 of torchvision; stem=cifar begins with a 3x3 convolution without stride and without pooling.

    It down-samples 8 times, with stem=imagenet 32 times.
    Source: He et al. 2016, arXiv 1512.03385.
    """
    return _of_torchvision(torchvision.models.resnet18, inputs=inputs, outputs=outputs, norm=norm, stem=stem)


def resnet50(*, inputs: Sequence[int], outputs: int, norm: str = "batch", stem: str = "cifar") -> nn.Module:
    """ResNet-50 of torchvision; stem=cifar begins with a 3x3 convolution without stride and without pooling.

    It down-samples 8 times, with stem=imagenet 32 times; a bottleneck's stride is on its 3x3 convolution.
    Source: He et al. 2016, arXiv 1512.03385.
    """
    return _of_torchvision(torchvision.models.resnet50, inputs=inputs, outputs=outputs, norm=norm, stem=stem)


def _of_torchvision(make: Callable[..., nn.Module], *, inputs: Sequence[int], outputs: int, norm: str, stem: str) -> nn.Module:
    channels = stem_channels(stem, inputs, cifar=4, imagenet=16)
    model = make(num_classes=outputs, norm_layer=norm_factory(norm))
    if stem == "cifar":
        model.conv1 = cifar_convolution(channels, 64)
        model.maxpool = nn.Identity()
    return model
