"""The share of a row in the weight gradient of a convolution."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from adaptive_bench.estimators.layers.linear import outer_sq_norms

Pair = tuple[int, int]
MOST_TRIED = 2**28  # numbers of a form's largest tensor: to measure one that is larger might take all memory


def conv(module: nn.Module, x: Tensor, d: Tensor, *, chosen: dict[str, str] | None = None) -> Tensor:
    """x: (m, c, *space), d: (m, o, *space); zero padding. One dimension is taken as images of height 1.

    The sum has three forms. On CPUs the one with fewer multiplications is taken. Which one is fast on a GPU depends on its
    generation (issue 145 of Opacus), so there all are timed when a kind of convolution is met first, and the fastest is entered
    into `chosen`. Their last digits differ, so under `deterministic` the rule of CPUs holds.
    """
    conv = cast(nn.Conv1d | nn.Conv2d, module)
    x = F.pad(x, _padding(conv))
    if isinstance(conv, nn.Conv1d):
        x, d = x.unsqueeze(2), d.unsqueeze(2)
    kernel, stride, dilation = (_pair(sizes) for sizes in (conv.kernel_size, conv.stride, conv.dilation))
    if kernel == (1, 1) and conv.groups == 1:
        x = x[:, :, :: stride[0], :: stride[1]]
        return outer_sq_norms(x.flatten(2).mT, d.flatten(2).mT)
    geometry = Geometry(kernel=kernel, stride=stride, dilation=dilation, groups=conv.groups)
    return FORMS[_form(x, d, geometry, chosen)](x, d, geometry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
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


def _form(x: Tensor, d: Tensor, geometry: Geometry, chosen: dict[str, str] | None) -> str:
    if chosen is None or not x.is_cuda or torch.are_deterministic_algorithms_enabled():
        return "gram" if _gram_is_cheaper(x, d, geometry) else "product"
    kind = f"{tuple(x.shape[1:])} to {tuple(d.shape[1:])}, {geometry}"
    if kind not in chosen:
        chosen[kind] = _fastest(x, d, geometry)
    return chosen[kind]


def _fastest(x: Tensor, d: Tensor, geometry: Geometry) -> str:
    pixels, positions, taps = x[0, 0].numel(), d[0, 0].numel(), math.prod(geometry.kernel)
    sizes = {
        "product": d.shape[1] * x.shape[1] // geometry.groups * taps,
        "gram": geometry.groups * (pixels**2 + positions**2),
        "patches": x.shape[1] * taps * positions,
    }
    tried = [name for name in FORMS if len(x) * sizes[name] <= MOST_TRIED] or ["product"]
    return min(tried, key=lambda name: _milliseconds(partial(FORMS[name], x, d, geometry)))


def _milliseconds(form: Callable[[], Tensor]) -> float:
    """On CUDA, after a first call, which loads kernels."""
    form()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(3):
        form()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def _gram_is_cheaper(x: Tensor, d: Tensor, geometry: Geometry) -> bool:
    """By multiplications; the 2 is what they cost more than those of a convolution, measured on CPUs."""
    pixels, positions, taps = x[0, 0].numel(), d[0, 0].numel(), math.prod(geometry.kernel)
    channels_in, channels_out = x.shape[1], d.shape[1]
    gram = pixels**2 * channels_in + positions**2 * (taps * geometry.groups + channels_out)
    return 2 * gram < positions * taps * channels_in * channels_out / geometry.groups


def _by_product(x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
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


def _by_patches(x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
    """`outer_sq_norms` of the patches themselves, which are copied."""
    patches = F.unfold(x, geometry.kernel, dilation=geometry.dilation, stride=geometry.stride)  # (m, c taps, positions)
    pairs = (values.reshape(len(x) * geometry.groups, -1, patches.shape[2]).mT for values in (patches, d))
    return outer_sq_norms(*pairs).reshape(len(x), -1).sum(1)


def _by_gram(x: Tensor, d: Tensor, geometry: Geometry) -> Tensor:
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


FORMS: dict[str, Callable[[Tensor, Tensor, Geometry], Tensor]] = {
    "product": _by_product,
    "gram": _by_gram,
    "patches": _by_patches,
}
