"""Multi-layer perceptrons; with no hidden layer, logistic regression."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from adaptive_bench.validation import Count, checked


@checked
def mlp(*, inputs: Sequence[int], outputs: int, hidden: Sequence[Count] = (64, 64)) -> nn.Module:
    """Fully connected ReLU layers of the widths in `hidden`; with none, one linear layer, which makes a convex problem."""
    if not inputs:
        raise ValueError("inputs=(): an mlp expects vectors or images, but the data set yields text; take model=lstm_small")
    widths = [math.prod(inputs), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
