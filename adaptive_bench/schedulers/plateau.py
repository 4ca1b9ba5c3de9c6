"""Growth when the validation metric stops improving: ReduceLROnPlateau for the batch size."""

import math
from dataclasses import dataclass, field
from typing import Literal

from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.schedulers.patience import Patience
from adaptive_bench.stats import Observation
from adaptive_bench.validation import Factor, NotNegative, Whole


@dataclass(kw_only=True)
class Plateau(FeedbackScheduler):
    """B <- B * factor once more than `patience` evaluations in a row brought no improvement of the validation metric.

    The semantics are those of torch's ReduceLROnPlateau, with growth for decay (see `Patience`); the metric is turned so that
    higher is better (a loss or a perplexity is negative here). `cooldown` and `growth_cap` are 0 and none, as in torch.

    Patience counts evaluations, so the run's evaluation interval is a part of this rule.

    Source: PyTorch, torch.optim.lr_scheduler.ReduceLROnPlateau; growth for decay as in Smith et al. 2018, arXiv 1711.00489.
    """

    factor: Factor = 2
    patience: Whole = 2  # evaluations
    threshold: NotNegative = 1e-4  # of the best metric, or in its unit
    threshold_mode: Literal["relative", "absolute"] = "relative"
    stall: Patience = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stall = Patience(patience=self.patience, threshold=self.threshold, threshold_mode=self.threshold_mode)

    def observe(self, seen: Observation) -> None:
        if seen.evaluation is not None and self.stall.at(seen.evaluation):
            # never below the last proposal, which a cooldown may have delayed
            self.size = max(self.size, seen.granted * self.factor)

    def signals(self) -> dict[str, float]:
        best = self.stall.best
        return {"best": math.nan if best is None else best, "stalled_evaluations": float(self.stall.count)}
