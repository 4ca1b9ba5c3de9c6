"""The batch size follows the training loss."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from adaptive_bench.schedulers.base import FeedbackScheduler, Noise, power
from adaptive_bench.schedulers.interval_mean import IntervalMean
from adaptive_bench.stats import Observation
from adaptive_bench.validation import Count, Growth, NotNegative, Positive, Several, Shrinkage


@dataclass(kw_only=True)
class LossBased(FeedbackScheduler):
    """B <- B * f(delta) after each interval: a falling training loss grows the size, a rising or fluctuating one shrinks it.

    The sheet names alternatives without choosing one. Each is a setting, and they combine freely:

        what the sheet leaves open            setting
        variation across epochs or batches    every=null (epochs), every=1 (steps), or any number of samples
        linear or non-linear (exponential)    change=linear, change=exponential
        before-after difference, moving       signal=difference, signal=moving_average with alpha,
          average, variance over K epochs       signal=variance with window=K
        what a fluctuating loss does          noise=shrinks (strategy 4), noise=grows (strategy 6); of signal=variance

    L_t is the mean training loss, weighted by samples, of interval t: `every` samples (None: an epoch), ended by the step that
    crosses the border. `signal` is one of the sheet's three variations, here relative to the loss, so that no setting depends
    on its scale (our reading):

    - difference:     delta = (L_t - L_{t-1}) / |L_{t-1}|
    - moving_average: delta = (m_t - m_{t-1}) / |m_{t-1}|, m_t = alpha L_t + (1 - alpha) m_{t-1}, m_1 = L_1
    - variance:       delta = sqrt((1/K) sum_k (L_k - mean)^2) / |mean| - fluctuation over the last K = `window` intervals. The
      sheet prints the sum alone, which grows with K: it is divided by K here. The sheet gives no threshold between steady and
      fluctuating; `fluctuation` is ours. A loss in steep descent spreads as well, and so shrinks the size. noise=grows turns the
      sign of delta.

    |delta| <= dead_zone holds the size. Otherwise f = 1 - rate * delta (`change=linear`) or exp(-rate * delta)
    (`change=exponential`), within [shrink, grow]. The sheet leaves all these numbers open: with rate = 5 a loss that falls by 5 %
    or rises by 4 % reaches a bound, so that the bounds decide early in training and delta decides late.

    Factors act on the size that was granted: a size so small, or a multiple so coarse, that rounding undoes the change stays.

    Source: lab sheet, strategy 4.
    """

    signal: Literal["difference", "moving_average", "variance"] = "difference"
    noise: Noise = "shrinks"  # what fluctuation does, of variance
    change: Literal["linear", "exponential"] = "linear"
    every: Count | None = None  # samples; None: an epoch
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.3  # weight of the newest interval, of moving_average
    window: Several = 5  # intervals, of variance
    fluctuation: NotNegative = 0.1  # standard deviation over mean that is neither steady nor fluctuating, of variance
    dead_zone: NotNegative = 0.01  # of |delta|
    rate: Positive = 5  # change of the size over change of the loss, both relative
    shrink: Shrinkage = 0.8  # smallest factor of one change
    grow: Growth = 1.25  # largest
    delta: float | None = field(default=None, init=False)  # of the last interval
    compared: list[float] = field(default_factory=list, init=False)  # the last L_t, or m_t
    losses: IntervalMean = field(default_factory=IntervalMean, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise == "grows" and self.signal != "variance":
            raise ValueError(f"noise='grows': signal={self.signal} is no measure of noise; take signal=variance")

    def observe(self, seen: Observation) -> None:
        self.losses.add(seen.loss, seen)
        if not seen.crossed(seen.position.epoch_samples if self.every is None else self.every):
            return
        loss = self.losses.close()
        if math.isnan(loss):
            return
        self._compare(loss)
        if self.delta is not None:
            self.size = seen.granted * self._factor(self.delta)

    def _compare(self, loss: float) -> None:
        if self.signal == "moving_average" and self.compared:
            loss = self.alpha * loss + (1 - self.alpha) * self.compared[-1]
        count = self.window if self.signal == "variance" else 2
        self.compared = [*self.compared, loss][-count:]
        if len(self.compared) < count:
            return
        if self.signal == "variance":
            mean = sum(self.compared) / count
            spread = math.sqrt(sum((value - mean) ** 2 for value in self.compared) / count)
            excess = _over(spread, mean) - self.fluctuation
            self.delta = excess if self.noise == "shrinks" else -excess
        else:
            before, now = self.compared
            self.delta = _over(now - before, before)

    def _factor(self, delta: float) -> float:
        if abs(delta) <= self.dead_zone:
            return 1.0
        change = 1 - self.rate * delta if self.change == "linear" else power(math.e, -self.rate * delta)
        return min(max(change, self.shrink), self.grow)

    def signals(self) -> dict[str, float]:
        """delta, and the loss that it compares: of the last interval or, for moving_average, smoothed."""
        return {
            "delta": math.nan if self.delta is None else self.delta,
            "interval_loss": self.compared[-1] if self.compared else math.nan,
        }


def _over(change: float, level: float) -> float:
    """change / |level|, where a level of 0 makes any change infinite."""
    if level == 0:
        return math.copysign(math.inf, change) if change else 0.0
    return change / abs(level)
