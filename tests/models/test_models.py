import pytest
import torch
from torch import nn

from adaptive_bench.models import cnn_small, mlp, resnet8, resnet18, resnet20
from adaptive_bench.models.resnet import cifar_resnet

COLOUR = (3, 32, 32)


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
        (resnet18(inputs=COLOUR, outputs=10), 11_173_962),
    ],
    ids=["mlp", "logistic", "cnn_small", "resnet20", "resnet8", "resnet18"],
)
def test_parameter_counts(model, count):
    assert parameters(model) == count


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("make", [resnet8, resnet18, cnn_small])
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
