import pytest
import torch
import torchvision
from torch import nn

from adaptive_bench.models import cnn_small, densenet22, efficientnet_b0, mlp, resnet8, resnet11, resnet18, resnet20
from adaptive_bench.models.resnet import Bottleneck, cifar_resnet

COLOUR = (3, 32, 32)
BLOCKS = ((16, 16), (64, 32), (128, 64))  # channels of the input and inside of resnet11's three bottlenecks


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (mlp(inputs=(1, 8, 8), outputs=10), 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10),
        (mlp(inputs=(400,), outputs=1, hidden=[]), 401),
        (cnn_small(inputs=(1, 8, 8), outputs=10), 9 * (16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64) + 650),
        # He et al. (2016), table 6, say 0.27M for 20 layers, there with shortcuts that have no parameters
        (resnet20(inputs=COLOUR, outputs=10), 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),
        (resnet8(inputs=COLOUR, outputs=10), 78_042),
        # three bottlenecks: 1x1, 3x3 and 1x1 with their norms, and a shortcut of 1x1 with its own
        (
            resnet11(inputs=COLOUR, outputs=10),
            3 * 9 * 16 + 2 * 16 + sum(i * c + 9 * c * c + 4 * c * c + 4 * c * i + 2 * (c + c + 8 * c) for i, c in BLOCKS) + 2570,
        ),
        # He et al. (2016b, arXiv 1603.05027), table 4, say 1.7M for 164 layers, there with as many channels
        (cifar_resnet(depth=164, inputs=COLOUR, outputs=10, block=Bottleneck), 1_704_154),
        # Huang et al. (2017), table 2, say 0.8M for 100 layers of DenseNet-BC; this one has three layers a block instead of 16
        (densenet22(inputs=COLOUR, outputs=10), 71_734),
        (resnet18(inputs=COLOUR, outputs=10), 11_173_962),
    ],
    ids=["mlp", "logistic", "cnn_small", "resnet20", "resnet8", "resnet11", "resnet164", "densenet22", "resnet18"],
)
def test_parameter_counts(model, count):
    assert parameters(model) == count


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("make", [resnet8, resnet11, densenet22, resnet18, cnn_small])
def test_norms_have_the_same_parameters_and_group_norm_no_batch_statistics(make, norm):
    model = make(inputs=COLOUR, outputs=10, norm=norm)
    assert parameters(model) == parameters(make(inputs=COLOUR, outputs=10))
    kinds = {type(module) for module in model.modules()}
    assert (nn.BatchNorm2d in kinds) == (norm == "batch")
    assert (nn.GroupNorm in kinds) == (norm == "group")
    assert model(torch.randn(2, *COLOUR)).shape == (2, 10)


def test_resnet18_halves_the_resolution_three_times_behind_a_cifar_stem():
    model = resnet18(inputs=COLOUR, outputs=10)
    sizes = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    model(torch.randn(1, *COLOUR))
    assert sizes == [32, 16, 8, 4]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: resnet18(inputs=COLOUR, outputs=10, stem="mnist"), "stem='mnist'"),
        (lambda: resnet18(inputs=(1, 8, 8), outputs=10, stem="imagenet"), "3 channels, got 1"),
        (lambda: resnet8(inputs=COLOUR, outputs=10, norm="layer"), "norm='layer'"),
        (lambda: resnet8(inputs=(400,), outputs=1), "vectors"),
        (lambda: cnn_small(inputs=(400,), outputs=1), "vectors"),
        (lambda: mlp(inputs=(4,), outputs=2, hidden=[8, 0]), "a whole number from 1 up"),
        (lambda: cifar_resnet(depth=10, inputs=COLOUR, outputs=10), "depth=10"),
    ],
)
def test_impossible_models_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_an_efficientnet_scales_its_channels_and_layers():
    """Tan and Le (2019), section 4: as B1 of torchvision with (1, 1.1) and B2 with (1.1, 1.2)."""
    for width, depth, peer in ((1.0, 1.1, torchvision.models.efficientnet_b1), (1.1, 1.2, torchvision.models.efficientnet_b2)):
        made = efficientnet_b0(inputs=(3, 64, 64), outputs=1000, stem="imagenet", width=width, depth=depth)
        assert parameters(made) == parameters(peer())
    small = efficientnet_b0(inputs=(3, 16, 16), outputs=10, width=0.25, depth=0.5)
    assert small(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    assert parameters(small) == 202_032
