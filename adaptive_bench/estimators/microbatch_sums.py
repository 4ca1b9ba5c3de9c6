"""The gradients of a batch's micro-batches, taken in one by one: their mean, and how far they lie apart."""

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from adaptive_bench.estimators.moments import SPREAD, moments
from adaptive_bench.estimators.vector import Scalar, cosine, inner_product, total_sq_norm
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.stats import Stat

Gradient = dict[nn.Parameter, Tensor]


@dataclass(kw_only=True)
class MicrobatchSums:
    """k micro-batches of b_j samples, B in all, with mean gradients h_j; the batch gradient is g = sum_j (b_j / B) h_j.

    Only INNER_PRODUCT_VARIANCE keeps the k gradients, because it wants their products with g, which is known last; everything
    else keeps one running sum, HALVES_COSINE two.
    """

    sizes: Sequence[int]  # b_j
    needs: AbstractSet[Stat]
    first: int = 0  # which of them is the first one of this rank
    ranks: Ranks = field(default_factory=Ranks)
    _weighted_sq_norms: Scalar = field(default=0.0, init=False)  # sum_j b_j |h_j|^2
    _halves: tuple[Gradient, Gradient] = field(default_factory=lambda: ({}, {}), init=False)  # sums of (b_j / B) h_j
    _taken: int = field(default=0, init=False)  # by this rank
    _kept: list[Gradient] = field(default_factory=list, init=False)

    def take(self, model: nn.Module) -> None:
        """Move the gradient of the next micro-batch out of the model."""
        gradient = {parameter: parameter.grad for parameter in model.parameters() if parameter.grad is not None}
        for parameter in gradient:
            parameter.grad = None
        place = self.first + self._taken
        size = self.sizes[place]
        self._weighted_sq_norms += size * total_sq_norm(gradient.values())
        keep = Stat.INNER_PRODUCT_VARIANCE in self.needs
        if keep:
            self._kept.append(gradient)
        second = Stat.HALVES_COSINE in self.needs and place >= len(self.sizes) // 2
        share, half = size / sum(self.sizes), self._halves[second]
        for parameter, part in gradient.items():
            if parameter in half:
                half[parameter].add_(part, alpha=share)
            else:
                half[parameter] = part * share if keep else part.mul_(share)
        self._taken += 1

    def add_up(self, model: nn.Module) -> None:
        """Add up what the ranks took, once each has taken its last."""
        first, second = self._halves  # the second one is empty everywhere unless it is asked for
        over = list(model.parameters())
        self._halves = self.ranks.sum(first, over=over), self.ranks.sum(second, over=over)
        (self._weighted_sq_norms,) = self.ranks.all_reduce(self._weighted_sq_norms)

    def finish(self) -> Callable[[float], dict[Stat, Scalar]]:
        """Put the batch gradient g into the `.grad`s. Returns the statistics as a function of |g|^2. The last call."""
        first, second = self._halves
        halves_cosine = cosine(first, second) if Stat.HALVES_COSINE in self.needs else math.nan
        for parameter, part in second.items():
            first[parameter] = first[parameter].add_(part) if parameter in first else part
        for parameter, part in first.items():
            parameter.grad = part
        asked = self.needs & SPREAD
        measured: dict[Stat, Scalar] = {Stat.HALVES_COSINE: halves_cosine, Stat.MICROBATCHES: float(len(self.sizes))}
        measured |= self._around(first) if asked else {}
        seen = partial(moments, samples=sum(self.sizes), count=len(self.sizes), weighted_sq_norms=self._weighted_sq_norms)
        return lambda sq_norm: seen(sq_norm) | measured

    def _around(self, mean: Gradient) -> dict[Stat, Scalar]:
        """What is measured around the batch gradient g; nan for a single micro-batch.

        MICROBATCH_RATIO: R = sum_j (b_j / B) |h_j - g|^2 / |g|^2 = sum_j b_j |h_j|^2 / (B |g|^2) - 1 = (k - 1) V / (B |g|^2),
        where V is the unbiased estimate of tr(Sigma) from these pieces. Equal sizes have b_j / B = 1/k, which makes it
        (1/k) sum_j |h_j - g|^2 / |g|^2.

        INNER_PRODUCT_VARIANCE: (1 / (k - 1)) sum_j b_j (<h_j, v> - <g, v>)^2 at v = g. For a fixed v it is unbiased for
        Var_i <g_i, v>, whatever the sizes: it is V of the numbers <g_i, v>. What the inner-product test reads (Bollapragada,
        Byrd and Nocedal 2018).
        """
        count, sq_norm = len(self.sizes), total_sq_norm(mean.values())
        if count < 2:
            return {Stat.MICROBATCH_RATIO: math.nan, Stat.INNER_PRODUCT_VARIANCE: math.nan}
        ratio = torch.where(sq_norm > 0, self._weighted_sq_norms / (sum(self.sizes) * sq_norm) - 1, math.nan)
        deviations = (inner_product(gradient, mean) - sq_norm for gradient in self._kept)
        kept = zip(self.sizes[self.first :], deviations, strict=False)
        (weighted,) = self.ranks.all_reduce(sum(size * deviation * deviation for size, deviation in kept))
        return {Stat.MICROBATCH_RATIO: ratio, Stat.INNER_PRODUCT_VARIANCE: weighted / (count - 1)}
