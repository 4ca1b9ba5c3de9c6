"""One server with a bounded queue, event by event."""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptive_bench.serving.arrivals import Times, ascending
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
    system = _System(ascending(arrivals), queue=queue, clients=clients)
    limit, seconds, now = policy.start(profile), seconds or profile.seconds, 0.0
    while system.waiting or system.coming:
        if not system.waiting:
            now = max(now, system.coming[0][0])
        system.admit(now)
        decision = policy.decide(now, system.waiting, limit=limit, profile=profile)
        if isinstance(decision, Run):
            batch, took = system.take(decision.size), seconds(decision.size)
            now += took
            system.admit(now)  # they come while the batch is computed, before it leaves
            system.answer(batch, now, took)
            limit = policy.next_limit(limit, size=len(batch), seconds=took)
        elif isinstance(decision, WaitUntil):
            assert decision.time > now, decision
            now = min(decision.time, system.coming[0][0]) if system.coming else decision.time
        else:
            system.depart(system.take(decision.count), now)
    return system.outcome()


class _System:
    """Who is still to come, who waits, who has left, and the integral over time of the number that is inside."""

    def __init__(self, intended: Times, *, queue: int, clients: int | None) -> None:
        self.intended, self.queue, total = intended.tolist(), queue, len(intended)
        self.apart = min(clients or total, total)  # from a client's request to its next
        # (time, number); a sorted list is a heap
        self.coming = list(zip(self.intended[: self.apart], range(self.apart), strict=True))
        self.waiting, self.numbers = deque[float](), deque[int]()
        self.sent, self.left = [0.0] * total, [0.0] * total
        self.leaves, self.answered = bytearray(total), bytearray(total)
        self.sizes, self.seconds = list[int](), list[float]()
        self.inside, self.area, self.last = 0, 0.0, 0.0

    def admit(self, until: float) -> None:
        """Let all who come until then in, or refuse them."""
        while self.coming and self.coming[0][0] <= until:
            time, number = heapq.heappop(self.coming)
            self.sent[number] = time
            if len(self.waiting) >= self.queue:
                self._leave(number, time)
            else:
                self._change(1, time)
                self.waiting.append(time)
                self.numbers.append(number)

    def take(self, count: int) -> list[int]:
        """The oldest of those that wait. They stay inside until they depart."""
        for _ in range(count):
            self.waiting.popleft()
        return [self.numbers.popleft() for _ in range(count)]

    def answer(self, batch: list[int], time: float, took: float) -> None:
        self.sizes.append(len(batch))
        self.seconds.append(took)
        for number in batch:
            self.answered[number] = True
        self.depart(batch, time)

    def depart(self, batch: list[int], time: float) -> None:
        self._change(-len(batch), time)
        for number in batch:
            self._leave(number, time)

    def _leave(self, number: int, time: float) -> None:
        self.left[number] = time
        self.leaves[number] += 1
        following = number + self.apart
        if following < len(self.left):
            heapq.heappush(self.coming, (max(self.intended[following], time), following))

    def _change(self, count: int, time: float) -> None:
        self.area += self.inside * (time - self.last)
        self.inside, self.last = self.inside + count, time

    def outcome(self) -> Outcome:
        assert self.leaves == bytearray(b"\x01") * len(self.leaves), "a request left never or twice"
        stayed = math.fsum(left - sent for left, sent in zip(self.left, self.sent, strict=True))
        assert math.isclose(self.area, stayed, rel_tol=1e-6, abs_tol=1e-6), f"Little's law: {self.area} is not {stayed}"
        return Outcome(
            intended=np.array(self.intended),
            sent=np.array(self.sent),
            left=np.array(self.left),
            answered=np.frombuffer(self.answered, dtype=np.uint8).astype(bool),
            sizes=np.array(self.sizes, dtype=np.int64),
            seconds=np.array(self.seconds),
        )


def replayed_seconds(sizes: Iterable[int], seconds: Iterable[float]) -> Callable[[int], float]:
    """Measured times of batches as the time of a batch of n: those of that size in turn, or of the nearest size measured."""
    measured = dict[int, deque[float]]()
    for size, took in zip(sizes, seconds, strict=True):
        measured.setdefault(int(size), deque()).append(float(took))
    if not measured:
        raise ValueError("no measured batch: nothing can be replayed")

    def replay(size: int) -> float:
        times = measured[min(measured, key=lambda known: (abs(known - size), known))]
        times.rotate(-1)
        return times[-1]

    return replay
