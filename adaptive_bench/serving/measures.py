"""What a server did, in numbers: latency, throughput, goodput, violations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adaptive_bench.serving.arrivals import Times
from adaptive_bench.serving.policies import NANOSECOND
from adaptive_bench.serving.simulate import Outcome
from adaptive_bench.validation import Positive, Several, check

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value of the whole series, its standard error, and its interval; nan where the series is too short."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Latencies in seconds, of answered requests: those that were refused count among the violations alone."""

    mean: Estimate
    p50: Estimate
    p95: Estimate
    p99: Estimate
    throughput: float  # answers a second
    goodput: float  # answers within the deadline a second
    violations: Estimate  # share of all requests that were refused or answered late
    refused: float  # share of all requests
    batch: float  # mean size
    sizes: Mapping[int, int]  # how many batches of each size


def measure(outcome: Outcome, *, deadline: float, since: Literal["intended", "sent"] = "intended") -> Measures:
    """Latencies count from the arrival that was intended, which no client that waits for an answer can shift.

    `since="sent"` counts from when the client got round to sending: the mistake that Tene calls coordinated omission.
    """
    check("deadline", deadline, Positive)
    latency = outcome.left - getattr(outcome, since)
    in_time = outcome.answered & (latency <= deadline + NANOSECOND)
    span = float(outcome.left.max() - outcome.intended.min())
    kept = latency[outcome.answered]
    missed = batch_means(1.0 - in_time)
    sizes, counts = np.unique(outcome.sizes, return_counts=True)
    return Measures(
        mean=batch_means(kept),
        p50=batch_means(kept, percentile(50)),
        p95=batch_means(kept, percentile(95)),
        p99=batch_means(kept, percentile(99)),
        throughput=len(kept) / span,
        goodput=float(in_time.sum()) / span,
        violations=replace(missed, low=float(np.clip(missed.low, 0, 1)), high=float(np.clip(missed.high, 0, 1))),  # a share
        refused=1 - len(kept) / len(latency),
        batch=float(outcome.sizes.mean()) if len(outcome.sizes) else np.nan,
        sizes=dict(zip(sizes.tolist(), counts.tolist(), strict=True)),
    )


def percentile(share: float) -> Callable[[Times], float]:
    return lambda values: float(np.percentile(values, share))


def batch_means(
    series: NDArray[np.float64], statistic: Callable[[Times], float] = lambda values: float(values.mean()), *, batches: int = 20
) -> Estimate:
    """The statistic of a correlated series, with Student's t over `batches` consecutive equal parts of it.

    Parts much longer than the correlation are nearly independent; the few that do not fill a part are left out of the error.

    Source: Law and Kelton, Simulation Modeling and Analysis, the method of batch means.
    """
    check("batches", batches, Several)
    length = len(series) // batches
    if not length:
        value = statistic(series) if len(series) else np.nan
        return Estimate(value=value, error=np.nan, low=np.nan, high=np.nan)
    parts = [statistic(part) for part in series[: length * batches].reshape(batches, length)]
    value, error = statistic(series), float(np.std(parts, ddof=1)) / batches**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, batches - 1)) * error
    return Estimate(value=value, error=error, low=value - half, high=value + half)
