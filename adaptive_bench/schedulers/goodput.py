"""Goodput: noise scale times measured throughput."""

import math
from dataclasses import dataclass, field

from adaptive_bench.schedulers.averages import NOISE, NoiseScale
from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Count, Factor, Growth, NotNegative, Positive, Several


@dataclass(kw_only=True)
class Goodput(FeedbackScheduler):
    """B = argmax throughput(B) * efficiency(B), efficiency(B) = (B_simple + B_0) / (B_simple + B), B_0 = initial.

    throughput(B) = B / (a + b B): the step time is a line through the mean times of the sizes run so far, weighted by steps, both
    coefficients held at 0 or above; the first step of a size is left out, since it pays for new kernels. With one size known the
    time is taken as constant, which makes the rule try a larger one: growth by at most 2 once an epoch is ours. Candidates are
    `candidates` sizes in geometric steps from initial to `largest`, never below initial. Once an epoch the best one is
    taken, if it promises more than `hysteresis` times the present size's goodput. The source fits network terms as well, for many
    devices, and sets the learning rate by AdaScale: `lr_rule=adascale`.

    The sizes depend on a clock: two runs of one seed can differ, and a busy machine changes the step times that the rule learns.

    Source: Qiao et al. 2021, OSDI, Pollux, arXiv 2008.12260.
    """

    not_for_blocks = "its efficiency counts samples to average, not positions of a row"

    minimum: Count = 2  # one sample has no variance
    cooldown: NotNegative = 1
    growth_cap: Factor | None = 2
    largest: Positive = 4096
    candidates: Several = 50
    hysteresis: Growth = 1.05
    half_life: NotNegative | None = None  # samples; None: an epoch
    max_relative_error: Positive | None = None  # of B_simple; above it the size stays
    noise: NoiseScale = field(init=False)
    times: dict[str, list[float]] = field(default_factory=dict, init=False)  # rows -> [steps, their mean seconds], at this block
    block: int = field(default=1, init=False)  # positions a row
    gain: float = field(default=math.nan, init=False)  # of the best candidate at the last decision

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.largest < self.initial:
            raise ValueError(f"largest={self.largest}: a size from initial={self.initial} up is expected")
        self.noise = NoiseScale(half_life=self.half_life, max_relative_error=self.max_relative_error)

    @property
    def needs(self) -> frozenset[Stat]:
        return NOISE

    def observe(self, seen: Observation) -> None:
        self._time(seen)
        self.noise.add(seen)
        if seen.crossed(seen.position.epoch_samples) and self.times and self.noise.trusted:
            self._decide(seen.granted)

    def _time(self, seen: Observation) -> None:
        if not (seen.seconds > 0 and seen.uncut):
            return
        if seen.shape.real is None and seen.shape.block != self.block:  # the width of padded rows changes at every step
            self.block, self.times = seen.shape.block, {}
        rows = str(seen.shape.batch)
        if rows not in self.times:
            self.times[rows] = [0.0, 0.0]
            return
        count, mean = self.times[rows]
        self.times[rows] = [count + 1, mean + (seen.seconds - mean) / (count + 1)]

    def _decide(self, current: int) -> None:
        fixed, per_sample = self.step_time()
        if not fixed + per_sample > 0:
            return  # no size has been run twice
        steps = self.candidates - 1
        ratio = self.largest / self.initial
        sizes = [self.initial * ratio ** (step / steps) for step in range(self.candidates)]
        present = self._goodput(current, fixed, per_sample)
        goodput, best = max((self._goodput(size, fixed, per_sample), size) for size in sizes)
        self.gain = goodput / present
        self.size = best if self.gain > self.hysteresis else float(current)

    def _goodput(self, size: float, fixed: float, per_sample: float) -> float:
        noise_scale = self.noise.value
        efficiency = 1.0 if math.isinf(noise_scale) else (noise_scale + self.initial) / (noise_scale + size)
        return efficiency * size / (fixed + per_sample * size)

    def step_time(self) -> tuple[float, float]:
        """a and b of seconds = a + b * rows: weighted least squares over the sizes run more than once; (0, 0) before that."""
        known = [(float(rows), *timed) for rows, timed in self.times.items() if timed[0] > 0]
        weight = sum(count for _, count, _ in known)
        if not known:
            return 0.0, 0.0
        mean_rows = sum(count * rows for rows, count, _ in known) / weight
        mean_time = sum(count * time for _, count, time in known) / weight
        spread = sum(count * (rows - mean_rows) ** 2 for rows, count, _ in known)
        joint = sum(count * (rows - mean_rows) * (time - mean_time) for rows, count, time in known)
        per_sample = max(0.0, joint / spread) if spread else 0.0
        if per_sample * mean_rows > mean_time:  # a would be negative: the line goes through the origin
            return 0.0, sum(c * r * t for r, c, t in known) / sum(c * r * r for r, c, _ in known)
        return mean_time - per_sample * mean_rows, per_sample

    def signals(self) -> dict[str, float]:
        fixed, per_sample = self.step_time()
        return {
            "noise_scale": self.noise.value, "step_seconds_fixed": fixed, "step_seconds_per_sample": per_sample,
            "goodput_gain": self.gain,
        }  # fmt: skip
