"""Vision transformers. Their only norm is LayerNorm, so there is no `norm` to choose, and patches are their stem."""

import math
from collections.abc import Sequence

from torch import nn
from torchvision.models import VisionTransformer

from adaptive_bench.models.inputs import image_channels, written
from adaptive_bench.validation import Count, Dropped, checked


def vit_b16(
    *, inputs: Sequence[int], outputs: int, patch: int | None = None, dropout: float = 0.0, attention_dropout: float = 0.0
) -> nn.Module:
    """ViT-B/16 of torchvision (width 768, 12 layers, 12 heads) on any square image.

    `patch` is in pixels. None: an eighth of the side, rounded down, and at most the 16 of its name: 4 at 32 pixels and 8 at 64,
    which makes 64 tokens and the class token, and 16 from 128 pixels on.
    Source: Dosovitskiy et al. 2021, arXiv 2010.11929, table 1.
    """
    return _vision_transformer(
        inputs, outputs=outputs, width=768, layers=12, heads=12, patch=patch, dropout=dropout, attention_dropout=attention_dropout
    )


def vit_tiny(
    *,
    inputs: Sequence[int],
    outputs: int,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    patch: int | None = None,
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> nn.Module:
    """A ViT for CPUs, of the same definition and with the same patches as `vit_b16`.

    Smaller than what others call tiny: width=192 layers=12 heads=3 make it DeiT-Ti (Touvron et al. 2021, arXiv 2012.12877).
    Source: Dosovitskiy et al. 2021, arXiv 2010.11929, table 1.
    """
    return _vision_transformer(
        inputs,
        outputs=outputs,
        width=width,
        layers=layers,
        heads=heads,
        patch=patch,
        dropout=dropout,
        attention_dropout=attention_dropout,
    )


@checked
def _vision_transformer(
    inputs: Sequence[int],
    *,
    outputs: int,
    width: Count,
    layers: Count,
    heads: Count,
    patch: Count | None,
    dropout: Dropped,
    attention_dropout: Dropped,
) -> nn.Module:
    """Four times as wide inside its perceptrons, as every ViT of the source's table 1."""
    if width % heads:
        raise ValueError(f"heads={heads}: width={width} is not divisible by the number of heads; choose a divisor")
    channels = image_channels(inputs)
    side, patch = inputs[1], _patch(inputs, patch)
    model = VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        dropout=dropout,
        attention_dropout=attention_dropout,
        num_classes=outputs,
    )
    if channels != 3:  # the constructor knows colour images only; initialised as there
        model.conv_proj = nn.Conv2d(channels, width, patch, patch)
        nn.init.trunc_normal_(model.conv_proj.weight, std=math.sqrt(1 / (channels * patch**2)))
        nn.init.zeros_(model.conv_proj.bias)
    made: nn.Module = model
    return made


def _patch(inputs: Sequence[int], wanted: int | None) -> int:
    """The side of a patch in pixels. Raises ValueError unless the images are squares that split into patches."""
    _, height, width = inputs
    if height != width:
        raise ValueError(f"inputs={written(inputs)}: a ViT expects square images; choose a convolutional model")
    patch = min(16, height // 8) if wanted is None else wanted
    if patch < 1 or height % patch:
        raise ValueError(
            f"patch={'null' if wanted is None else wanted}: images of {height} x {width} pixels do not split into patches of "
            f"{patch} x {patch}; set model.patch to a divisor of {height}"
        )
    return patch
