"""Growth where validation stalls: the batch-size counterpart of the oldest rule for the learning rate."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.base import Observation, SizeScheduler, one_of, positive, whole_number
from adaptive_bench.size import Progress


@dataclass(kw_only=True)
class Plateau(SizeScheduler):
    """B <- B * factor once more than `patience` evaluations in a row brought no improvement of the validation metric.

    The semantics are those of torch's ReduceLROnPlateau, with growth for decay. The metric is turned so that higher is better
    (a loss or a perplexity is negative here); v improves on the best so far where v > best + threshold * |best|
    (`threshold_mode=relative`) or v > best + threshold (`absolute`). The first evaluation is an improvement, one that is not
    finite never is. Growth starts the count anew, the best stays. `cooldown` and `growth_cap` are 0 and none, as in torch.

    Patience counts evaluations, so the run's evaluation interval is a part of this rule.

    Source: PyTorch, torch.optim.lr_scheduler.ReduceLROnPlateau; growth for decay as in Smith et al. 2018, arXiv 1711.00489.
    """

    factor: float = 2
    patience: int = 2  # evaluations
    threshold: float = 1e-4  # of the best metric, or in its unit
    threshold_mode: str = "relative"
    size: float = field(init=False)
    best: float | None = field(default=None, init=False)
    stalled: int = field(default=0, init=False)  # evaluations since the last improvement or growth

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 < self.factor < math.inf:
            raise ValueError(f"factor={self.factor}: a finite factor above 1 is expected")
        whole_number("patience", self.patience, least=0)
        if self.threshold:
            positive("threshold", self.threshold)
        one_of("threshold_mode", self.threshold_mode, ("relative", "absolute"))
        self.size = float(self.initial)

    def only_grows(self) -> bool:
        return True

    def observe(self, seen: Observation) -> None:
        if seen.evaluation is None:
            return
        if self._improves(seen.evaluation):
            self.best, self.stalled = seen.evaluation, 0
            return
        self.stalled += 1
        if self.stalled > self.patience:
            # never less than it asked for already: a growth that met a cooldown still stands
            self.size, self.stalled = max(self.size, seen.granted * self.factor), 0

    def _improves(self, value: float) -> bool:
        if self.best is None or not math.isfinite(value):
            return math.isfinite(value)
        margin = self.threshold * abs(self.best) if self.threshold_mode == "relative" else self.threshold
        return value > self.best + margin

    def propose(self, progress: Progress) -> float:
        return self.size

    def signals(self) -> dict[str, float]:
        return {"best": math.nan if self.best is None else self.best, "stalled_evaluations": float(self.stalled)}
