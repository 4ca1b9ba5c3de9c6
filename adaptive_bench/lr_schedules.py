"""What the learning rate does as the budget is spent: its factor as a function of the position in samples.

Each raises ValueError for settings that make no schedule; a run asks once when it is assembled.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from adaptive_bench.size import Progress


def constant(progress: Progress) -> float:
    """1: the learning rate stays what it is."""
    return 1.0


def cosine(progress: Progress, *, warmup: float = 0.0, start: float = 0.1, final: float = 0.0) -> float:
    """final + (1 - final) * (1 + cos(pi * t)) / 2, t the spent share of the budget behind the warm-up
    (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts).

    Over the first `warmup` epochs the factor rises linearly from `start` to 1.
    """
    if not 0 <= warmup < progress.epochs:
        raise ValueError(f"warmup={warmup}: from 0 up to less than the budget of {progress.epochs:g} epochs is expected")
    if progress.epoch < warmup:
        return start + (1 - start) * progress.epoch / warmup
    begin = warmup * progress.epoch_samples
    spent = (progress.samples - begin) / (progress.budget - begin)
    return final + (1 - final) * (1 + math.cos(math.pi * spent)) / 2


def multistep(progress: Progress, *, milestones: Sequence[float], gamma: float = 0.1) -> float:
    """gamma^k behind the k-th milestone. Milestones are in epochs, ascending."""
    if sorted(set(milestones)) != list(milestones) or not gamma > 0:
        raise ValueError(f"milestones={list(milestones)}, gamma={gamma}: ascending epochs and a factor above 0 are expected")
    return gamma ** bisect_right(list(milestones), progress.epoch + 1e-9)  # allowance as in Progress.completed


def staircase(progress: Progress, *, gamma: float = 0.375, interval: float | None = None) -> float:
    """gamma^i after i intervals of so many epochs; without an `interval`, of a fifth of the budget.

    AdaBatch (Devarakonda et al. 2017, arXiv 1712.02029) takes 0.75 where it doubles the batch and 0.375 in its fixed baseline,
    every 20 of 100 epochs: both spend the same learning rate per sample of a batch.
    """
    interval = progress.epochs / 5 if interval is None else interval
    if not gamma > 0 or not interval > 0:
        raise ValueError(f"gamma={gamma}, interval={interval}: a factor and a number of epochs above 0 are expected")
    return float(gamma ** progress.completed(interval))
