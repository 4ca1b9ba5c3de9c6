"""The random block length of AWD-LSTM."""

import math
import random
from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import Position
from adaptive_bench.validation import Count, NotNegative, Positive, Share, Whole


@dataclass(kw_only=True)
class RandomBptt(SizeScheduler):
    """B = max(minimum, int(N(base, sd^2))) with base = initial, or initial / 2 with probability 1 - p; drawn anew each step.

    Where a text is cut at the same places in every epoch, the first tokens of a block never have anything to backpropagate
    into; random lengths move the cuts. `probability` is p, int cuts towards 0. `minimum`, `probability` and `sd` are, with an
    `initial` of 70, those of the authors' code.

    With `lr_rule=linear` the learning rate of each step is lr * B / initial, the authors' scaling: rules measure a size
    against that of the first step, and so the first one, at sample 0, is not drawn but `initial` itself.

    A draw is a function of `seed` and of the sample at which the step starts: nothing is remembered, and runs of one seed
    whose steps start elsewhere draw differently. Two slots of a run with the same seed draw together.

    Source: Merity, Keskar, Socher 2017, arXiv 1708.02182, section 5, and the authors' code.
    """

    initial: Positive = 70
    minimum: Count = 5  # smallest size
    probability: Share = 0.95  # of initial as the base
    sd: NotNegative = 5  # in units of the size
    seed: Whole = 0

    def propose(self, position: Position) -> float:
        if position.samples == 0:
            return self.initial
        # of all that `random` offers, only random() promises the same numbers under every Python; a text as seed is hashed,
        # so that neighbouring positions and seeds have nothing in common
        draws = random.Random(f"{self.seed} {position.samples}")
        base = self.initial if draws.random() < self.probability else self.initial / 2
        radius = math.sqrt(-2 * math.log(1 - draws.random()))  # Box and Muller: standard normal times a cosine
        return max(self.minimum, int(base + self.sd * radius * math.cos(2 * math.pi * draws.random())))
