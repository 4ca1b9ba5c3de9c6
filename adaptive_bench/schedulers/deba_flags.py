"""DEBA by the tests of its paper: two stability flags and a variance ratio."""

import math
from dataclasses import dataclass, field
from statistics import median

from adaptive_bench.schedulers.deba import EpochController
from adaptive_bench.schedulers.epoch_signals import confidence, remember, third_quartile
from adaptive_bench.validation import Positive


@dataclass(kw_only=True)
class DebaFlags(EpochController):
    """Once an epoch, B <- 1.5 B where gradient norm, loss and variance are steady, 0.8 B where they are not.

    On the signals of `EpochSignals`: stable_grad = norm_variation < theta_stab, stable_loss = loss_variation < theta_stab and
    c_t = variance / (median of the variance over the window of 15 epochs). With both stable and c_t <= theta_conf the
    size grows; with neither, or with only one and c_t > theta_conf, it shrinks; else it holds. `cooldown` epochs lie
    between two changes; the method's bounds, 16 to 2048, are `batch_size.minimum` and `batch_size.maximum`.

    The tests, the factors, the window and the cooldown are the paper's; which flags give which action is our reading,
    the sources do not say. theta_conf and theta_stab belong to the architecture, and no source prints their values: each
    is the setting, else the `calibration`'s, else ours from the window itself, the 75th percentile of c and the median
    of max(norm_variation, loss_variation), the current epoch excluded. While one of them is unknown, the size holds.
    `measure_every` has no effect.

    Source: Belias, Ezzati-Jivan and Khomh 2025, arXiv 2511.03809.
    """

    theta_conf: Positive | None = None  # None: the calibration's, else from the window
    theta_stab: Positive | None = None  # None: the calibration's, else from the window
    ratios: list[float] = field(default_factory=list, init=False)  # c of the window
    changes: list[float] = field(default_factory=list, init=False)  # max(norm_variation, loss_variation) of the window
    latest: dict[str, float] = field(default_factory=dict, init=False)  # c and the thresholds it last met, where known

    def __post_init__(self) -> None:
        super().__post_init__()
        self._thresholds: dict[str, float] = {}
        if (known := self.calibration) is not None:
            self._thresholds = {"theta_conf": known.thresholds["confidence"], "theta_stab": known.thresholds["stability"]}
        for name, value in (("theta_conf", self.theta_conf), ("theta_stab", self.theta_stab)):
            if value is not None:
                self._thresholds[name] = value

    def decide(self) -> float:
        self.latest, decision = {}, 1.0
        if not self.stability.complete:
            return decision
        signals = self.stability.latest
        from_window = {
            "theta_conf": third_quartile(self.ratios),
            "theta_stab": median(self.changes) if self.changes else math.nan,
        }
        limits = from_window | self._thresholds
        ratio = confidence(self.stability.history["variance"])
        steady = [signals[name] < limits["theta_stab"] for name in ("norm_variation", "loss_variation")]
        if all(math.isfinite(limit) for limit in limits.values()):
            usual = ratio <= limits["theta_conf"]
            if all(steady) and usual:
                decision = self.grow
            elif not any(steady) or not (usual or all(steady)):
                decision = self.shrink
        self.latest = {name: value for name, value in {"confidence": ratio, **limits}.items() if math.isfinite(value)}
        remember(self.ratios, ratio, window=self.window - 1)  # the latest is no part of what it is held against
        remember(self.changes, max(signals["norm_variation"], signals["loss_variation"]), window=self.window - 1)
        return decision

    def signals(self) -> dict[str, float]:
        own = {name: self.latest.get(name, math.nan) for name in ("confidence", "theta_conf", "theta_stab")}
        return self.stability.signals() | own | {"decision": self.decision}
