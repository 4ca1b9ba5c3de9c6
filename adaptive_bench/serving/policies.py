"""When a server answers and how many requests at once. A policy is a pure function of what waits; nothing here trains."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from adaptive_bench.validation import Count, Dropped, Growth, NotNegative, Positive, check_fields

NANOSECOND = 1e-9  # seconds; sums of floats and clocks are no finer, so a request this late is in time


@dataclass(frozen=True, slots=True)
class Run:
    """Answer the `size` oldest requests together."""

    size: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Decide again at this time, or at the next arrival if that is earlier."""

    time: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Refuse the `count` oldest requests, then decide again."""

    count: int


Decision: TypeAlias = Run | WaitUntil | Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The seconds of a forward pass of n requests, t(n) = tau0 + alpha n."""

    tau0: NotNegative  # seconds a pass
    alpha: NotNegative  # seconds a request

    def __post_init__(self) -> None:
        check_fields(self)
        if self.tau0 + self.alpha == 0:
            raise ValueError("tau0=0 and alpha=0: a forward pass takes time; one of them above 0 is expected")

    def seconds(self, size: int) -> float:
        return self.tau0 + self.alpha * size

    def largest(self, within: float) -> float:
        """max{n: t(n) <= within}, 0 if there is none, infinite if a request costs nothing more."""
        room = within + NANOSECOND - self.tau0
        if room < 0 or self.alpha == 0:
            return 0 if room < 0 else math.inf
        return math.floor(room / self.alpha)

    def saturated(self, deadline: float, *, queue: int) -> float:
        """N / t(N) in requests a second: a server always busy with the largest batches that deadline and queue allow."""
        size = int(min(self.largest(deadline), queue))
        return size / self.seconds(size)


@dataclass(frozen=True, kw_only=True)
class Policy(ABC):
    """`decide` is pure. What a policy has learnt is one number, its limit of the batch size, which is handed in and out."""

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def start(self, profile: Profile) -> float:
        """The first limit. Raises ValueError if the policy cannot serve a model of this profile."""

    @abstractmethod
    def decide(self, now: float, arrivals: Sequence[float], *, limit: float, profile: Profile) -> Decision:
        """What to do now, the server being free; `arrivals` of those that wait, oldest first, at least one."""

    def next_limit(self, limit: float, *, size: int, seconds: float) -> float:
        """The limit after a batch of `size` took `seconds`."""
        return limit


@dataclass(frozen=True, kw_only=True)
class Single(Policy):
    """n = 1: a pass for every request, which is what a server without batches does."""

    def start(self, profile: Profile) -> float:
        return 1

    def decide(self, now: float, arrivals: Sequence[float], *, limit: float, profile: Profile) -> Decision:
        return Run(1)


@dataclass(frozen=True, kw_only=True)
class Window(Policy):
    """Wait until the oldest request is `wait` old, or until `limit` have come, whichever is first.

    `limit=None` is max{n: t(n) <= wait}: as many as can be processed in that window. `wait=0` never waits.

    Source: lab sheet, time-constrained batching; `max_queue_delay` of Triton, whose default is 0.
    """

    wait: NotNegative  # seconds
    limit: Count | None = None

    def start(self, profile: Profile) -> float:
        limit = profile.largest(self.wait) if self.limit is None else self.limit
        if limit < 1:
            raise ValueError(
                f"wait={self.wait:g}: one forward pass takes {profile.seconds(1):g} s, so nothing can be processed in that "
                "window; wait longer or set limit"
            )
        return limit

    def decide(self, now: float, arrivals: Sequence[float], *, limit: float, profile: Profile) -> Decision:
        ready = arrivals[0] + self.wait
        if len(arrivals) < limit and now < ready:
            return WaitUntil(ready)
        return Run(int(min(len(arrivals), limit)))


@dataclass(frozen=True, kw_only=True)
class Aimd(Policy):
    """N += `step` after a batch of N that took at most D, N <- (1 - `backoff`) N after one that took longer; never waits.

    A batch of fewer than N says nothing of N and lets it stay, where to the letter N would grow for ever at a low load.

    Source: Crankshaw et al. (NSDI 2017), section 4.3.
    """

    deadline: Positive  # seconds that a batch may take
    initial: Count = 1
    step: Growth = 1
    backoff: Dropped = 0.1

    def start(self, profile: Profile) -> float:
        check_deadline(self.deadline, profile)
        return self.initial

    def decide(self, now: float, arrivals: Sequence[float], *, limit: float, profile: Profile) -> Decision:
        return Run(min(len(arrivals), int(limit)))

    def next_limit(self, limit: float, *, size: int, seconds: float) -> float:
        if seconds > self.deadline + NANOSECOND:
            return max(1.0, (1 - self.backoff) * limit)
        return limit + self.step if size >= int(limit) else limit


@dataclass(frozen=True, kw_only=True)
class Deadline(Policy):
    """n = max{k <= waiting: age of the oldest + t(k) <= D}; never waits.

    A request that not even a pass of its own could answer in time, age + t(1) > D, is refused: BentoML sheds load by this test.
    An old request makes the batch small, and small batches make requests old: near saturation this rule alone serves ever smaller
    batches. `at_least=k` refuses whoever would force a batch of fewer than k upon those behind, age + t(k) > D, as Nexus's early
    drop does (Shen et al., SOSP 2019).
    """

    deadline: Positive  # seconds from the arrival
    at_least: Count = 1

    def start(self, profile: Profile) -> float:
        check_deadline(self.deadline, profile)
        return math.inf

    def decide(self, now: float, arrivals: Sequence[float], *, limit: float, profile: Profile) -> Decision:
        together = min(self.at_least, len(arrivals))
        latest = now + profile.seconds(together) - self.deadline - NANOSECOND  # an arrival before it is expired
        if arrivals[0] < latest:
            return Drop(next((at for at, arrival in enumerate(arrivals) if arrival >= latest), len(arrivals)))
        size = min(len(arrivals), profile.largest(self.deadline - (now - arrivals[0])))
        return Run(max(1, int(size)))


def check_deadline(deadline: float, profile: Profile) -> None:
    """Raises ValueError for a deadline that no request can meet."""
    if profile.largest(deadline) < 1:
        raise ValueError(f"deadline={deadline:g}: one forward pass takes {profile.seconds(1):g} s; take a longer deadline")
