"""The convolutional networks of torchvision: the same at `stem=imagenet`, and at home on small images otherwise."""

import math

import pytest
import torch
import torchvision
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from adaptive_bench.__main__ import conf
from adaptive_bench.estimators import Auto, PerSample, coverage
from adaptive_bench.models import (
    cnn_small,
    densenet121,
    efficientnet_b0,
    mobilenet_v3_large,
    mobilenet_v3_small,
    resnet18,
    resnet50,
)
from adaptive_bench.models.norm import groups
from adaptive_bench.stats import Stat
from adaptive_bench.streams import Batch

COLOUR, LARGE = (3, 32, 32), (3, 224, 224)
MAKERS = (resnet18, resnet50, densenet121, efficientnet_b0, mobilenet_v3_small, mobilenet_v3_large)
each_network = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# torchvision's documented counts for 1000 classes, the width before the last layer, and the first convolution's
# (kernel, outputs), which a stem of 3x3 replaces
COUNTS = {
    "resnet18": (11_689_512, 512, (7, 64)),
    "resnet50": (25_557_032, 2048, (7, 64)),
    "densenet121": (7_978_856, 1024, (7, 64)),
    "efficientnet_b0": (5_288_548, 1280, (3, 32)),
    "mobilenet_v3_small": (2_542_856, 1024, (3, 16)),
    "mobilenet_v3_large": (5_483_032, 1280, (3, 16)),
}


@each_network
def test_parameter_counts(make):
    count, width, (kernel, first) = COUNTS[make.__name__]
    assert parameters(make(inputs=LARGE, outputs=1000, stem="imagenet")) == count
    count -= 990 * (width + 1) + 3 * first * (kernel**2 - 9)
    assert parameters(make(inputs=COLOUR, outputs=10)) == count
    assert parameters(make(inputs=COLOUR, outputs=10, norm="group")) == count
    assert parameters(make(inputs=(1, 8, 8), outputs=10)) == count - 2 * first * 9


def test_the_count_of_the_issue():
    assert parameters(resnet18(inputs=COLOUR, outputs=10)) == 11_173_962


@each_network
def test_an_imagenet_stem_leaves_torchvisions_model_as_it_is(make):
    torch.manual_seed(0)
    ours = make(inputs=LARGE, outputs=10, stem="imagenet")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, make.__name__)(num_classes=10)
    assert repr(ours) == repr(theirs)  # every layer with its settings: momentum, epsilon, strides, dropout
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for one, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@each_network
def test_a_cifar_stem_changes_the_first_convolution_and_pooling_and_nothing_else(make):
    ours, theirs = (dict(make(inputs=COLOUR, outputs=10, stem=stem).named_modules()) for stem in ("cifar", "imagenet"))
    assert ours.keys() == theirs.keys()
    leaves = [name for name in ours if not list(ours[name].children())]
    changed = [name for name in leaves if repr(ours[name]) != repr(theirs[name])]
    first = next(name for name in leaves if isinstance(ours[name], nn.Conv2d))
    assert changed == [first, *(name for name in leaves if isinstance(theirs[name], nn.MaxPool2d))]
    assert ours[first].kernel_size == (3, 3)
    assert ours[first].stride == (1, 1)
    assert ours[first].bias is None


@each_network
@pytest.mark.parametrize(("stem", "side"), [("cifar", 4), ("imagenet", 1)])
def test_what_is_left_of_an_image_of_32_pixels(make, stem, side):
    if stem == "cifar" and not make.__name__.startswith(("resnet", "densenet")):
        side = 2  # a stride less than on ImageNet, where the others lose a pooling, too
    sizes = []
    model = make(inputs=COLOUR, outputs=10, stem=stem).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2:]))
    model(torch.randn(1, *COLOUR))
    assert sizes[0] == ((32, 32) if stem == "cifar" else (16, 16))
    assert sizes[-1] == (side, side)


@each_network
def test_a_cifar_stem_is_initialised_as_torchvisions_own(make):
    """The standard deviation goes with the inverse of the kernel's width, and is else that of torchvision's first convolution."""
    torch.manual_seed(0)
    ours, theirs = (
        next(module.weight for module in make(inputs=COLOUR, outputs=10, stem=stem).modules() if isinstance(module, nn.Conv2d))
        for stem in ("cifar", "imagenet")
    )
    assert 3 * ours.std().item() == pytest.approx(theirs.shape[-1] * theirs.std().item(), rel=0.1)


@each_network
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_norm_is_everywhere_or_nowhere(make, norm):
    model = make(inputs=COLOUR, outputs=10, norm=norm)
    kinds = [type(module) for module in model.modules() if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm))]
    assert set(kinds) == {nn.BatchNorm2d if norm == "batch" else nn.GroupNorm}
    assert len(kinds) >= 20


def test_groups_divide_the_channels_and_have_four_of_them_or_more():
    known = {1: 1, 3: 1, 4: 1, 7: 1, 16: 4, 24: 6, 40: 10, 64: 16, 72: 18, 128: 32, 144: 24, 512: 32, 1000: 25, 37: 1}
    assert {channels: groups(channels) for channels in known} == known
    for channels in range(4, 300):
        count = groups(channels)
        assert channels % count == 0
        assert channels / count >= 4
        assert count <= 32
        assert not any(channels % more == 0 and channels / more >= 4 for more in range(count + 1, 33))


def test_a_width_that_32_does_not_divide_has_groups_all_the_same():
    assert cnn_small(inputs=COLOUR, outputs=10, width=14, norm="group")(torch.randn(2, *COLOUR)).shape == (2, 10)


@each_network
def test_images_of_one_channel_and_of_no_square(make):
    for inputs in ((1, 8, 8), (5, 24, 17)):
        assert make(inputs=inputs, outputs=7)(torch.randn(3, *inputs)).shape == (3, 7)


@each_network
def test_the_least_size_works_and_one_pixel_less_is_refused(make):
    least = {"cifar": 8, "imagenet": 16}
    if make in (resnet18, resnet50):
        least["cifar"] = 4
    if make is densenet121:
        least["imagenet"] = 32
    for stem, side in least.items():
        assert make(inputs=(3, side, side), outputs=10, stem=stem)(torch.randn(2, 3, side, side)).shape == (2, 10)
        with pytest.raises(
            ValueError, match=rf"inputs=\(3, 64, {side - 1}\): with stem={stem} .* images of {side} x {side} pixels and more"
        ):
            make(inputs=(3, 64, side - 1), outputs=10, stem=stem)


@each_network
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stem": "mnist"}, "stem='mnist': cifar or imagenet is expected"),
        ({"stem": "imagenet", "inputs": (1, 64, 64)}, "3 channels, got 1; choose model.stem=cifar"),
        ({"norm": "layer"}, "norm='layer': batch or group or none"),
        ({"inputs": (400,)}, r"inputs=\(400\): this model expects images"),
        ({"inputs": ()}, r"inputs=\(\): this model expects images"),
    ],
)
def test_impossible_settings_are_refused(make, settings, says):
    with pytest.raises(ValueError, match=says):
        make(**{"inputs": COLOUR, "outputs": 10} | settings)


@pytest.mark.parametrize("value", [1.0, -0.1, math.nan, True, "0.2"])
def test_shares_that_cannot_be_dropped_are_refused(value):
    for make in (densenet121, efficientnet_b0, mobilenet_v3_small, mobilenet_v3_large):
        with pytest.raises(ValueError, match=f"dropout={value!r}: a finite number from 0 up and below 1"):
            make(inputs=COLOUR, outputs=10, dropout=value)
    with pytest.raises(ValueError, match=f"stochastic_depth={value!r}"):
        efficientnet_b0(inputs=COLOUR, outputs=10, stochastic_depth=value)


def test_what_is_dropped_is_what_was_asked_for():
    model = efficientnet_b0(inputs=COLOUR, outputs=10, dropout=0.3, stochastic_depth=0.4)
    skipped = [module.p for module in model.modules() if isinstance(module, torchvision.ops.StochasticDepth)]
    assert skipped == pytest.approx([0.4 * block / 16 for block in range(16)])
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3]
    model = densenet121(inputs=COLOUR, outputs=10, dropout=0.1)
    assert [module.drop_rate for module in model.modules() if hasattr(module, "drop_rate")] == [0.1] * 58
    model = mobilenet_v3_small(inputs=COLOUR, outputs=10, dropout=0.5)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5]


@pytest.mark.parametrize("make", [mobilenet_v3_small, mobilenet_v3_large])
def test_evaluations_follow_the_weights_as_fast_as_the_momentum_lets_them(make):
    """After n steps on one batch the running variance is (1 - (1 - m)^n) of the batch's, and (1 - m)^n of its first value, 1."""
    images = torch.randn(8, *COLOUR)
    for momentum in (0.01, 0.1):
        model = make(inputs=COLOUR, outputs=10, batch_norm_momentum=momentum)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {module.momentum for module in norms} == {momentum}
        assert {module.eps for module in norms} == {0.001}
        for _ in range(3):
            model(images)
        first, left = model.features[0][0](images), (1 - momentum) ** 3
        torch.testing.assert_close(norms[0].running_var, (1 - left) * first.var((0, 2, 3)) + left, rtol=1e-4, atol=1e-5)
    for value in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"batch_norm_momentum={value}"):
            make(inputs=COLOUR, outputs=10, batch_norm_momentum=value)


@each_network
def test_the_configuration_repeats_torchvisions_defaults(make):
    configured = instantiate(OmegaConf.load(conf() / "model" / f"{make.__name__}.yaml"), inputs=COLOUR, outputs=10)
    assert repr(configured) == repr(make(inputs=COLOUR, outputs=10))


def test_mobilenet_v3_is_the_large_one():
    short, long = (OmegaConf.load(conf() / "model" / f"{name}.yaml") for name in ("mobilenet_v3", "mobilenet_v3_large"))
    assert short == long


def test_the_small_one_for_cpus_differs_by_its_momentum_alone():
    cpu, paper = (OmegaConf.load(conf() / "model" / f"mobilenet_v3_small{twin}.yaml") for twin in ("_cpu", ""))
    assert {key for key in paper if cpu[key] != paper[key]} == {"batch_norm_momentum"}
    assert cpu.keys() == paper.keys()


@each_network
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_layer_rules_cover_every_parameter(make, norm):
    model, auto = make(inputs=COLOUR, outputs=10, norm=norm), Auto()
    auto.check(model, {Stat.GRAD_VARIANCE})
    assert auto.choice == "per_sample: layer rules cover 100% of the trainable parameters"
    assert coverage(model) == 1


@pytest.mark.parametrize(
    "make",
    [mobilenet_v3_small, *(pytest.param(make, marks=pytest.mark.slow) for make in (resnet50, densenet121, efficientnet_b0))],
    ids=lambda make: make.__name__,
)
def test_layer_rules_give_the_norms_of_each_images_own_gradient(make):
    """Through depthwise convolutions, squeeze-and-excitation, dropout and stochastic depth, which drop what the seed says."""
    torch.manual_seed(0)
    model = make(inputs=(3, 16, 16), outputs=10, norm="group").double()
    batch = Batch(torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([1, 4, 1]))
    torch.manual_seed(1)
    losses = F.cross_entropy(model(batch.inputs), batch.targets, reduction="none")
    norms = [
        sum(part.square().sum().item() for part in torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))
        for loss in losses
    ]
    torch.manual_seed(1)
    seen = PerSample(fraction=1.0).backward(
        lambda model, batch: F.cross_entropy(model(batch.inputs), batch.targets), model, batch, {Stat.MEAN_SAMPLE_SQ_NORM}
    )
    assert seen.stats[Stat.MEAN_SAMPLE_SQ_NORM] == pytest.approx(sum(norms) / 3, rel=1e-9)
    assert max(norms) > 1.01 * min(norms)
