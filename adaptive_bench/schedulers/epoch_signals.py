"""The three signals that both DEBA controllers read once an epoch, in a sliding window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Literal, TypeAlias

from adaptive_bench.sizes import Position
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Several

SIGNALS = ("variance", "norm_variation", "loss_variation")
GradSource: TypeAlias = Literal["last_batch", "epoch_mean"]
NEEDS = {
    "last_batch": frozenset({Stat.COMPONENT_VARIANCE, Stat.GRAD_NORM}),
    "epoch_mean": frozenset({Stat.EPOCH_COMPONENT_VARIANCE, Stat.EPOCH_GRAD_SQ_NORM}),
}  # by the gradient that stands for an epoch
TINY = 1e-30  # keeps 0/0 away: a variance is |g|^2 / d, so 1e-8 would not be small beside it


@dataclass(kw_only=True)
class EpochSignals(Stateful):
    """After each epoch t, g_t the gradient with its d components and L_t the epoch's mean training loss:

    variance = |g_t|^2 / d - (mean component)^2, norm_variation = ||g_t| - |g_(t-1)|| / (|g_(t-1)| + 1e-8),
    loss_variation = |L_t - L_(t-1)| / (|L_(t-1)| + 1e-8).

    The sources do not say which gradient they mean: `last_batch` takes that of the epoch's last whole step, before clipping and
    without weight decay (the very last step of a text's epoch is a rest of a few tokens); `epoch_mean` the mean of all
    g_i of the epoch, at the weights as they move, for which every step must be measured. A step that crosses the border
    counts in the epoch it began in. Values that are no finite numbers are left out.
    """

    grad_source: GradSource = "last_batch"
    window: Several = 15  # epochs
    samples: int = field(default=0, init=False)  # of this epoch so far
    rows: int = field(default=0, init=False)  # of this epoch so far; of a text they are longer than a sample
    loss: float = field(default=0.0, init=False)  # the sum over the samples
    gradient: list[float] | None = field(default=None, init=False)  # component variance and norm, of the last whole step measured
    last_norm: float | None = field(default=None, init=False)
    last_loss: float | None = field(default=None, init=False)
    latest: dict[str, float] = field(default_factory=dict, init=False)  # the signals of the last finished epoch
    history: dict[str, list[float]] = field(default_factory=dict, init=False)  # those of the window, the latest last

    def __post_init__(self) -> None:
        super().__post_init__()
        self.history = {name: [] for name in SIGNALS}

    def measures(self, position: Position, samples: int) -> bool:
        """Every step, or the last two of an epoch: the very last one of a text may be cut short."""
        if self.grad_source == "epoch_mean":
            return True
        return position.samples % position.epoch_samples + 2 * samples > position.epoch_samples

    def observe(self, seen: Observation) -> None:
        """Add a step; after the last step of an epoch there are new signals."""
        self.samples += seen.shape.samples
        self.rows += seen.shape.batch
        self.loss += seen.loss * seen.shape.samples
        if self.grad_source == "last_batch" and seen.uncut and seen.stats.keys() >= NEEDS["last_batch"]:
            self.gradient = [seen.stats[Stat.COMPONENT_VARIANCE], seen.stats[Stat.GRAD_NORM]]
        if not seen.crossed(seen.position.epoch_samples):
            return
        variance, norm = self._gradient(seen)
        loss = self.loss / self.samples
        found = dict(zip(SIGNALS, (variance, _change(norm, self.last_norm), _change(loss, self.last_loss)), strict=True))
        self.latest = {name: value for name, value in found.items() if math.isfinite(value)}
        for name, value in self.latest.items():
            remember(self.history[name], value, window=self.window)
        self.last_norm, self.last_loss = (value if math.isfinite(value) else None for value in (norm, loss))
        self.samples, self.rows, self.loss, self.gradient = 0, 0, 0.0, None

    def _gradient(self, seen: Observation) -> tuple[float, float]:
        """Component variance and norm of the gradient that stands for the epoch; nan where it was not measured."""
        if self.grad_source == "last_batch":
            variance, norm = self.gradient or (math.nan, math.nan)
            return variance, norm
        if not seen.stats.keys() >= NEEDS["epoch_mean"]:
            return math.nan, math.nan
        # both are of a sum over the epoch's rows
        norm = math.sqrt(seen.stats[Stat.EPOCH_GRAD_SQ_NORM]) / self.rows
        return seen.stats[Stat.EPOCH_COMPONENT_VARIANCE] / self.rows**2, norm

    @property
    def complete(self) -> bool:
        """Whether the last finished epoch gave all three signals."""
        return self.latest.keys() == set(SIGNALS)

    def level(self, name: str) -> float:
        """Median of the window without the latest value; nan before there is one."""
        return median(before) if (before := self.history[name][:-1]) else math.nan

    def signals(self) -> dict[str, float]:
        return {name: self.latest.get(name, math.nan) for name in SIGNALS}


def confidence(variances: Sequence[float]) -> float:
    """c_t = sigma^2_t / (median of sigma^2 over the window up to t), the last one being t."""
    return variances[-1] / (median(variances) + TINY)


def third_quartile(values: Sequence[float]) -> float:
    """The 75th percentile, linear between two values; nan without any."""
    if len(values) < 2:
        return values[0] if values else math.nan
    return quantiles(values, n=4, method="inclusive")[2]


def remember(values: list[float], value: float, *, window: int) -> None:
    """Append, and forget the oldest beyond the window."""
    values.append(value)
    del values[:-window]


def _change(value: float, last: float | None) -> float:
    return math.nan if last is None else abs(value - last) / (abs(last) + 1e-8)
