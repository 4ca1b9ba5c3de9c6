"""The share of a row in the weight gradient of a convolution."""

import math
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from adaptive_bench.estimators.layers.linear import outer_sq_norms

Pair = tuple[int, int]


def conv(module: nn.Module, x: Tensor, d: Tensor) -> Tensor:
    """x: (m, c, *space), d: (m, o, *space); zero padding. One dimension is taken as images of height 1."""
    conv = cast(nn.Conv1d | nn.Conv2d, module)
    x = F.pad(x, _padding(conv))
    if isinstance(conv, nn.Conv1d):
        x, d = x.unsqueeze(2), d.unsqueeze(2)
    kernel, stride, dilation = (_pair(sizes) for sizes in (conv.kernel_size, conv.stride, conv.dilation))
    if kernel == (1, 1) and conv.groups == 1:
        x = x[:, :, :: stride[0], :: stride[1]]
        return outer_sq_norms(x.flatten(2).mT, d.flatten(2).mT)
    geometry = _Geometry(kernel=kernel, stride=stride, dilation=dilation, groups=conv.groups)
    return _by_gram(x, d, geometry) if _gram_is_cheaper(x, d, geometry) else _by_product(x, d, geometry)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Geometry:
    kernel: Pair
    stride: Pair
    dilation: Pair
    groups: int


def _pair(sizes: tuple[int, ...]) -> Pair:
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _padding(conv: nn.Conv1d | nn.Conv2d) -> list[int]:
    """(before, after) of each dimension, the last one first, as F.pad wants it."""
    pads: list[int] = []
    for axis in reversed(range(len(conv.kernel_size))):
        if conv.padding == "same":
            total = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
            pads += [total // 2, total - total // 2]
        else:
            pads += [0, 0] if conv.padding == "valid" else [cast(int, conv.padding[axis])] * 2
    return pads


def _gram_is_cheaper(x: Tensor, d: Tensor, geometry: _Geometry) -> bool:
    """By multiplications; the 2 is what they cost more than those of a convolution, measured on CPUs."""
    pixels, positions, taps = x[0, 0].numel(), d[0, 0].numel(), math.prod(geometry.kernel)
    channels_in, channels_out = x.shape[1], d.shape[1]
    gram = pixels**2 * channels_in + positions**2 * (taps * geometry.groups + channels_out)
    return 2 * gram < positions * taps * channels_in * channels_out / geometry.groups


def _by_product(x: Tensor, d: Tensor, geometry: _Geometry) -> Tensor:
    """The rows' weight gradients from one call: rows become the groups of a convolution over a single, very wide image."""
    rows, channels_in, channels_out = len(x), x.shape[1], d.shape[1]
    weights: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        x.reshape(1, rows * channels_in, *x.shape[2:]),
        (rows * channels_out, channels_in // geometry.groups, *geometry.kernel),
        d.reshape(1, rows * channels_out, *d.shape[2:]),
        stride=geometry.stride,
        dilation=geometry.dilation,
        groups=rows * geometry.groups,
    )
    norms: Tensor = torch.linalg.vector_norm(weights.reshape(rows, -1), dim=1)
    return norms.square()


def _by_gram(x: Tensor, d: Tensor, geometry: _Geometry) -> Tensor:
    """The Gram form of `outer_sq_norms`, x_t being the patch under position t.

    A product of two patches is the sum over kernel taps of products of two pixels, so the Gram matrix of the patches is that of
    the pixels, shifted tap by tap and added up: no patch is ever copied.
    """
    pixel_gram, gram = _gram(x, geometry.groups), _gram(d, geometry.groups)  # (m groups, h, w, h, w)
    patch_gram = torch.zeros_like(gram)
    for tap in product(*map(range, geometry.kernel)):
        h, w = (_under_tap(tap[axis], d.shape[2 + axis], geometry.stride[axis], geometry.dilation[axis]) for axis in (0, 1))
        patch_gram += pixel_gram[:, h, w, h, w]
    return (patch_gram * gram).reshape(len(x), -1).sum(1)


def _under_tap(tap: int, positions: int, stride: int, dilation: int) -> slice:
    """Where a tap of the kernel lies on the padded image, for every output position along one axis."""
    start = tap * dilation
    return slice(start, start + stride * (positions - 1) + 1, stride)


def _gram(values: Tensor, groups: int) -> Tensor:
    """Products over channels between all pairs of pixels, group by group: (m, c, h, w) -> (m groups, h, w, h, w)."""
    rows, channels, height, width = values.shape
    pixels = values.reshape(rows * groups, channels // groups, height * width)
    return torch.bmm(pixels.mT, pixels).reshape(-1, height, width, height, width)
