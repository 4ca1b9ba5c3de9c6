"""Vision transformers: torchvision's, with patches that fit the images."""

import pytest
import torch
import torchvision
from hydra.utils import instantiate
from torch import nn

from adaptive_bench.estimators import Auto, coverage
from adaptive_bench.models import vit_b16, vit_tiny
from adaptive_bench.stats import Stat
from tests.conftest import composed


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def attention(*, width: int, layers: int, patches: int) -> int:
    """What no layer rule covers: class token, positions, and the attention's projections (queries, keys, values, outward)."""
    return width + (patches + 1) * width + layers * (4 * width**2 + 4 * width)


def formula(*, channels: int, patch: int, patches: int, width: int, layers: int, outputs: int) -> int:
    """Patches to tokens, the above, two norms and a perceptron 4 times as wide a layer, the last norm, the head."""
    embedding = channels * patch**2 * width + width
    rest = layers * (8 * width**2 + 5 * width + 4 * width) + 2 * width + width * outputs + outputs
    return embedding + attention(width=width, layers=layers, patches=patches) + rest


@pytest.mark.parametrize(
    ("inputs", "outputs", "patch", "patches"),
    [((3, 224, 224), 1000, 16, 196), ((3, 32, 32), 10, 4, 64), ((3, 64, 64), 200, 8, 64), ((1, 8, 8), 10, 1, 64)],
)
def test_parameter_counts_and_patches(inputs, outputs, patch, patches):
    expected = {"channels": inputs[0], "patch": patch, "patches": patches, "outputs": outputs}
    large, tiny = (make(inputs=inputs, outputs=outputs) for make in (vit_b16, vit_tiny))
    assert parameters(large) == formula(width=768, layers=12, **expected)
    assert parameters(tiny) == formula(width=64, layers=4, **expected)
    assert large.seq_length == patches + 1
    if inputs[1] == 224:
        assert parameters(large) == 86_567_656  # as torchvision documents it


def test_on_imagenet_it_is_torchvisions_vit_b_16():
    torch.manual_seed(0)
    ours = vit_b16(inputs=(3, 224, 224), outputs=10)
    torch.manual_seed(0)
    theirs = torchvision.models.vit_b_16(num_classes=10)
    assert repr(ours) == repr(theirs)
    for one, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_configuration_sets_every_size():
    chosen = ("model.width=48", "model.layers=2", "model.heads=3", "model.patch=8", "model.dropout=0.1")
    model = instantiate(composed("model=vit_tiny", *chosen, "model.attention_dropout=0.2").model, inputs=(3, 32, 32), outputs=10)
    assert parameters(model) == formula(channels=3, patch=8, patches=16, width=48, layers=2, outputs=10)
    attentions = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    assert [(module.num_heads, module.dropout) for module in attentions] == [(3, 0.2)] * 2
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.1}


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_patches_of_any_channels_are_initialised_alike(channels):
    torch.manual_seed(0)
    model = vit_tiny(inputs=(channels, 32, 32), outputs=10)
    assert model.conv_proj.weight.shape == (64, channels, 4, 4)
    assert model.conv_proj.weight.std().item() == pytest.approx((channels * 16) ** -0.5, rel=0.1)
    assert not model.conv_proj.bias.any()
    assert model(torch.randn(2, channels, 32, 32)).shape == (2, 10)


def test_it_learns_where_a_bright_patch_is():
    """Which needs the positions: the patches alone are the same for every class."""
    torch.manual_seed(0)
    model = vit_tiny(inputs=(1, 8, 8), outputs=4, width=32, layers=2, patch=4)
    images, targets = torch.zeros(4, 1, 8, 8), torch.arange(4)
    for i in range(4):
        images[i, 0, 4 * (i // 2) : 4 * (i // 2) + 4, 4 * (i % 2) : 4 * (i % 2) + 4] = 1
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    with torch.no_grad():
        model.encoder.pos_embedding.zero_()
    assert nn.functional.cross_entropy(model(images), targets).item() > 1


@pytest.mark.parametrize(("make", "width", "layers"), [(vit_b16, 768, 12), (vit_tiny, 64, 4)])
def test_auto_takes_micro_batches_as_attention_and_tokens_have_no_layer_rule(make, width, layers):
    model, auto = make(inputs=(3, 32, 32), outputs=10), Auto()
    auto.check(model, {Stat.GRAD_VARIANCE})
    share = 1 - attention(width=width, layers=layers, patches=64) / parameters(model)
    assert auto.choice.startswith("microbatch: no layer rule for class_token, encoder.pos_embedding, ")
    assert auto.choice.endswith(f"({share:.1%} of the trainable parameters are covered)")
    assert coverage(model) == pytest.approx(share)
    assert 0.6 < share < 0.7


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inputs": (3, 32, 24)}, r"inputs=\(3, 32, 24\): a ViT expects square images"),
        ({"inputs": (400,)}, r"inputs=\(400\): this model expects images"),
        (
            {"inputs": (1, 28, 28)},
            "patch=null: images of 28 x 28 pixels do not split into patches of 3 x 3; set model.patch to a",
        ),
        ({"inputs": (3, 4, 4)}, "patch=null: .* patches of 0 x 0"),
        ({"patch": 5}, "patch=5: images of 32 x 32 pixels do not split"),
        ({"patch": 64}, "patch=64: "),
        ({"patch": 0}, "patch=0: a whole number from 1 up"),
        ({"patch": 4.0}, "patch=4.0"),
        ({"dropout": 1}, "dropout=1: a finite number from 0 up and below 1"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1"),
    ],
)
@pytest.mark.parametrize("make", [vit_b16, vit_tiny])
def test_impossible_settings_are_refused(make, settings, says):
    with pytest.raises(ValueError, match=says):
        make(**{"inputs": (3, 32, 32), "outputs": 10} | settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"heads": 5}, "heads=5: width=64 is not divisible"), ({"width": 0}, "width=0"), ({"layers": 1.5}, "layers=1.5")],
)
def test_impossible_sizes_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        vit_tiny(inputs=(3, 32, 32), outputs=10, **settings)
