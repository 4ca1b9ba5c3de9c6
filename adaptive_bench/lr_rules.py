"""What the learning rate does when the size changes: its factor as a function of ratio = size / first size."""

import math


def none(ratio: float) -> float:
    """1: the learning rate does not know of the size."""
    return 1.0


def linear(ratio: float) -> float:
    """ratio (Goyal et al. 2017, arXiv 1706.02677); DiveBatch's rescaling."""
    return ratio


def sqrt(ratio: float) -> float:
    """sqrt(ratio) (Krizhevsky 2014, arXiv 1404.5997; Hoffer et al. 2017, arXiv 1705.08741)."""
    return math.sqrt(ratio)
