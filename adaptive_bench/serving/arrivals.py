"""When requests come, in seconds from the start: at random, in bursts, or as they were recorded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaptive_bench.validation import Count, Factor, Positive, Share, check, checked

Times = NDArray[np.float64]  # ascending


@checked
def poisson(rate: Positive, count: Count, generator: np.random.Generator) -> Times:
    """The first `count` arrivals of a Poisson process: gaps are exponential with mean 1 / rate."""
    return np.cumsum(generator.exponential(1 / rate, count))


@checked
def bursts(
    rate: Positive, count: Count, generator: np.random.Generator, *, factor: Factor = 5, share: Share = 0.1, stay: Positive = 10
) -> Times:
    """A Poisson process whose rate jumps between two values, with mean `rate` (MMPP-2, Heffes and Lucantoni 1986).

    A busy state comes `factor` times as many requests a second as a calm one, fills `share` of the time and lasts, on average,
    until `stay` requests of the mean rate's would have come; stays are exponential.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share:g}: a share of time between 0 and 1 is expected; without bursts take poisson")
    (calm, busy), (calm_stay, busy_stay) = burst_rates(rate, factor=factor, share=share, stay=stay)
    found, time, total = list[Times](), 0.0, 0
    is_busy = bool(generator.random() < share)  # stationary from the start
    while total < count:
        cycles = 16 + int((count - total) / (rate * (calm_stay + busy_stay)))
        order = (busy_stay, calm_stay) if is_busy else (calm_stay, busy_stay)
        stays = generator.exponential(np.tile(order, cycles))
        rates = np.tile((busy, calm) if is_busy else (calm, busy), cycles)
        numbers = generator.poisson(rates * stays)
        starts = time + np.cumsum(stays) - stays
        # given their number, the arrivals of a stay are uniform on it
        found.append(np.sort(np.repeat(starts, numbers) + np.repeat(stays, numbers) * generator.random(int(numbers.sum()))))
        time, total = float(starts[-1] + stays[-1]), total + int(numbers.sum())
    return np.concatenate(found)[:count]


def burst_rates(rate: float, *, factor: float, share: float, stay: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """((calm, busy) requests a second, (calm, busy) mean stays in seconds) of `bursts`."""
    calm = rate / (1 + share * (factor - 1))
    busy_stay = stay / rate
    return (calm, factor * calm), (busy_stay * (1 - share) / share, busy_stay)


def replayed(times: Sequence[float], *, rate: float | None = None) -> Times:
    """A recorded list from its first arrival on; with `rate` it is stretched to that many requests a second."""
    found = ascending(times)
    found -= found[0]
    if rate is None:
        return found
    check("rate", rate, Positive)
    if found[-1] == 0:
        raise ValueError("all arrivals of the recording have one time: it cannot be stretched to a rate")
    found *= (len(found) - 1) / (rate * found[-1])
    return found


def ascending(times: Sequence[float] | Times) -> Times:
    """A copy of the times. Raises ValueError if there are none or they are out of order."""
    found = np.array(times, dtype=float)
    if not len(found):
        raise ValueError("no arrivals: at least one time is expected")
    wrong = ~np.isfinite(found) | (np.diff(found, prepend=-np.inf) < 0)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"arrival {at + 1} is {found[at]:g}: finite times in ascending order are expected")
    return found


def read(path: Path) -> list[float]:
    """A recording: a time in seconds a line. Raises ValueError."""
    try:
        return [float(line) for line in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: a text file with a time in seconds a line is expected ({error})") from error
