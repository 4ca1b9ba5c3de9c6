"""One server with a bounded queue, event by event."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_bench.serving.arrivals import Times
from adaptive_bench.serving.policies import Policy, Profile, Run, WaitUntil
from adaptive_bench.validation import Count, check


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of each request, in the order of the intended arrivals, and of each batch, in the order served."""

    intended: Times
    sent: Times  # later than intended where a client waited for an answer first
    left: Times  # answered or refused
    answered: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    seconds: Times  # of each batch


def simulate(
    arrivals: Sequence[float] | Times,
    policy: Policy,
    profile: Profile,
    *,
    queue: int,
    seconds: Callable[[int], float] | None = None,
    clients: int | None = None,
) -> Outcome:
    """Serve all arrivals with one server; a request that finds `queue` others waiting is refused.

    `seconds` gives the time of a batch of n, by default t(n) of the profile, which is all that the policy knows. `clients=None`
    is an open loop: requests come whatever the server does. With c clients, every c-th request is one client's, who sends it
    when its time has come and the request before is answered (a closed loop).

    Checked every time: each request leaves exactly once, and Little's law on the path, that the integral of the number in the
    system over time equals the sum of the times spent in it (Little 1961).
    """
    check("queue", queue, Count)
    check("clients", clients, Count | None)
    limit, seconds = policy.start(profile), seconds or profile.seconds
    intended = np.asarray(arrivals, dtype=float)
    times, total = intended.tolist(), len(intended)
    apart = min(clients or total, total)  # from a client's request to its next
    coming = list(zip(times[:apart], range(apart), strict=True))  # a sorted list is a heap
    ages, numbers = deque[float](), deque[int]()  # of those that wait
    sent, left, leaves, answered = times.copy(), [0.0] * total, bytearray(total), bytearray(total)
    sizes, spent = list[int](), list[float]()
    now = area = last = 0.0
    inside = 0  # in the system, waiting or served

    def leave(number: int, time: float) -> None:
        left[number] = time
        leaves[number] += 1
        if number + apart < total:
            heapq.heappush(coming, (max(times[number + apart], time), number + apart))

    def admit(until: float) -> None:
        nonlocal area, last, inside
        while coming and coming[0][0] <= until:
            time, number = heapq.heappop(coming)
            sent[number] = time
            if len(ages) >= queue:
                leave(number, time)
                continue
            area += inside * (time - last)
            last = time
            inside += 1
            ages.append(time)
            numbers.append(number)

    def depart(count: int, time: float) -> None:
        nonlocal area, last, inside
        area += inside * (time - last)
        last = time
        inside -= count

    while coming or ages:
        if not ages:
            now = max(now, coming[0][0])
        admit(now)
        decision = policy.decide(now, ages, limit=limit, profile=profile)
        if isinstance(decision, WaitUntil):
            assert decision.time > now, decision
            now = min(decision.time, coming[0][0]) if coming else decision.time
            continue
        served = [numbers.popleft() for _ in range(decision.size if isinstance(decision, Run) else decision.count)]
        for _ in served:
            ages.popleft()
        if isinstance(decision, Run):
            took = seconds(len(served))
            now += took
            admit(now)  # they come while the batch is computed, before it leaves
            limit = policy.next_limit(limit, size=len(served), seconds=took)
            sizes.append(len(served))
            spent.append(took)
        depart(len(served), now)
        for number in served:
            answered[number] = isinstance(decision, Run)
            leave(number, now)

    assert leaves == bytearray(b"\x01") * total, "a request left never or twice"
    outcome = Outcome(
        intended=intended,
        sent=np.array(sent),
        left=np.array(left),
        answered=np.frombuffer(answered, dtype=np.uint8).astype(bool),
        sizes=np.array(sizes, dtype=np.int64),
        seconds=np.array(spent),
    )
    stayed = float((outcome.left - outcome.sent).sum())
    assert math.isclose(area, stayed, rel_tol=1e-6, abs_tol=1e-6), f"Little's law: {area} is not {stayed}"
    return outcome


def replayed_seconds(sizes: Iterable[int], seconds: Iterable[float]) -> Callable[[int], float]:
    """Measured times of batches as the time of a batch of n: those of that size in turn, or of the nearest size measured."""
    measured: dict[int, list[float]] = {}
    for size, took in zip(sizes, seconds, strict=True):
        measured.setdefault(int(size), []).append(float(took))
    if not measured:
        raise ValueError("no measured batch: nothing can be replayed")
    return _Replayed(measured)


class _Replayed:
    def __init__(self, measured: Mapping[int, list[float]]) -> None:
        self.measured = {size: deque(times) for size, times in measured.items()}

    def __call__(self, size: int) -> float:
        times = self.measured[min(self.measured, key=lambda known: (abs(known - size), known))]
        times.rotate(-1)
        return times[-1]
