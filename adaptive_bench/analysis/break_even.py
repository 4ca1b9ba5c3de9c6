"""On which devices an arm would be faster: its speed-up in time as a function of how much a device gains by larger batches.

A step of B samples takes t(B) = a + b B (the model of Pollux, Qiao et al. 2021, arXiv 2008.12260, for one device). Then U updates
and N samples take a U + b N, and a ratio of two such times depends on the device only by its half-saturation size B_half = a / b:
the batch at which half of the step's time is overhead, 0 on a device without parallelism. For texts B counts tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from .arms import Arm
from .compare import pairs, ratio
from .intervals import CONFIDENCE, quantile

LARGEST = 1e5
ROUNDING = 1e-12  # of logarithms
GRID = np.concatenate([[0.0], np.geomspace(0.1, LARGEST, 61)])


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """An arm against the baseline on every device: at `GRID`, the speed-up in time to the target with its 95 % interval.

    `at` is the B_half at which both take the same time: 0 or LARGEST if it lies beyond an end of the grid. From there on the arm
    is the faster one, or up to there if not `wins_above`. `low` and `high` are the ends of its 95 % interval: of the B_half at
    which the test of equal times does not reject. Both are nan where every B_half is rejected, or where one pair gives no test.
    """

    label: str
    at: float
    low: float
    high: float
    wins_above: bool
    mean: np.ndarray = field(repr=False, compare=False)
    lower: np.ndarray = field(repr=False, compare=False)
    upper: np.ndarray = field(repr=False, compare=False)

    def __str__(self) -> str:
        if math.isnan(self.low):
            tested = bool(np.isfinite(self.lower).all())
            where = "everywhere" if self.mean[0] > 1 else "nowhere"
            return f"{self.label} pays {where if tested else f'{self._side} {_shown(self.at)} [-]'}"
        if not self.shown:
            return f"{self.label} shows no difference at any B_half"
        if len(set(np.sign(self.mean - 1))) == 1:  # no crossing: where the difference is shown, and not where it might end
            ends = [f"up to {_shown(self.low)}"] * (self.low > 0) + [f"from {_shown(self.high)}"] * (self.high < LARGEST)
            return f"{self.label} {'pays' if self.mean[0] > 1 else 'is slower'} {' and '.join(ends)}, elsewhere it is undecided"
        return f"{self.label} pays {self._side} {_shown(self.at)} [{_shown(self.low)}, {_shown(self.high)}]"

    @property
    def shown(self) -> bool:
        """Whether equal times are rejected at some B_half."""
        return (self.low, self.high) != (0, LARGEST) and bool(np.isfinite(self.lower).all())

    @property
    def _side(self) -> str:
        return "from" if self.wins_above else "up to"


def _shown(half: float) -> str:
    return f">{LARGEST:,.0f}" if half >= LARGEST else f"{half:,.0f}" if half >= 10 or half == 0 else f"{half:.2g}"


def break_even(baseline: Arm, arm: Arm) -> BreakEven | None:
    """None where a run missed the target, or crossed it within two evaluations: then there is no time to it.

    What measuring and deciding cost is not in it, because a device's step time says nothing of it.
    """
    if any(each.missed() or each.early() or not each.crossings for each in (baseline, arm)):
        return None
    logs = _logs(baseline, arm)
    mean, lower, upper = np.array([logs(half) for half in GRID]).T
    wins_above = bool(mean[-1] > mean[0])
    crossed = np.flatnonzero(np.sign(mean[:-1]) * np.sign(mean[1:]) < 0)
    # without a crossing the arm is faster or slower on the whole grid, so that it lies beyond one of its ends
    at = _root(lambda half: logs(half)[0], int(crossed[0])) if len(crossed) else LARGEST if (mean[0] > 0) != wins_above else 0.0
    low, high = _accepted(logs, lower, upper, crossed)
    return BreakEven(
        label=arm.label, at=at, low=low, high=high, wins_above=wins_above, mean=np.exp(mean), lower=np.exp(lower),
        upper=np.exp(upper),
    )  # fmt: skip


def half_saturation(sizes: np.ndarray, seconds: np.ndarray) -> float:
    """B_half = a / b of the least-squares line a + b B through measured step times, each weighted by its own size.

    nan if the times do not rise with the size; a line that begins below 0 has B_half 0.
    """
    slope, intercept = np.polyfit(sizes, seconds, 1, w=1 / np.asarray(seconds))
    return float(max(intercept, 0.0) / slope) if slope > 0 else math.nan


def _logs(baseline: Arm, arm: Arm) -> Callable[[float], tuple[float, float, float]]:
    """The logarithm of the speed-up at a B_half, with its bounds, as `compare.ratio` gives them."""
    spent = [{seed: (found.steps, found.samples) for seed, found in each.crossings.items()} for each in (baseline, arm)]
    shared = pairs(spent[0], spent[1])
    if not shared:

        def welch(half: float) -> tuple[float, float, float]:
            effect = ratio(*({seed: half * u + n for seed, (u, n) in each.items()} for each in spent)).effect
            return math.log(effect.mean), math.log(effect.low), math.log(effect.high)

        return welch
    updates, samples = (np.array([[each[seed][at] for seed in shared] for each in spent]) for at in range(2))
    scale = quantile(len(shared) - 1, CONFIDENCE) / math.sqrt(len(shared)) if len(shared) > 1 else math.nan

    def paired(half: float) -> tuple[float, float, float]:
        base, other = np.log(half * updates + samples)
        differences = base - other
        # equal ratios in all pairs are no interval without width, but no measure of the noise
        spread = float(differences.std(ddof=1)) if len(shared) > 1 and np.ptp(differences) > ROUNDING else math.nan
        mean, width = float(differences.mean()), scale * spread
        return mean, mean - width, mean + width

    return paired


def _root(function: Callable[[float], float], at: int) -> float:
    """Where a function changes its sign between two points of the grid."""
    return float(brentq(function, GRID[at], GRID[at + 1], xtol=1e-6))


def _accepted(
    logs: Callable[[float], tuple[float, float, float]], lower: np.ndarray, upper: np.ndarray, crossed: np.ndarray
) -> tuple[float, float]:
    """The ends of the B_half whose interval holds a ratio of 1: 0 and LARGEST where it still does at an end of the grid."""
    inside = (lower <= 0) & (upper >= 0)
    if not np.isfinite(lower).all() or not (inside.any() or len(crossed)):
        return math.nan, math.nan
    # where the interval is narrower than the grid, both its ends lie between the two points around the crossing
    first, last = (
        (int(inside.argmax()), len(inside) - 1 - int(inside[::-1].argmax())) if inside.any() else (crossed[0] + 1, crossed[0])
    )

    def edge(out: int, at: int) -> float:
        which = 1 if lower[out] > 0 else 2  # the bound that is on the same side as the mean there
        return _root(lambda half: logs(half)[which], at)

    low = edge(first - 1, first - 1) if first else 0.0
    high = edge(last + 1, last) if last + 1 < len(inside) else LARGEST
    return low, high
