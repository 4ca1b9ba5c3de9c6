"""Sizes that keep the peak of memory below a limit: the controller, and the lab sheet's rule for the batch size."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from adaptive_bench.schedulers.base import FeedbackScheduler
from adaptive_bench.stateful import Stateful
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.validation import Share

Kind: TypeAlias = Literal["plain", "measured"]  # passes that measure statistics need more memory than others

CALM = 3  # passes with memory to spare before the limit grows
JUMP = 0.02  # of the capacity: a peak so far above the line means that something else has taken memory


@dataclass(kw_only=True)
class MemoryControl(Stateful):
    """The largest size b whose peak u, as a share of the capacity, stays at 1 - margin.

    A pass of size b is taken to need u = a + c b. a and c come from least squares over all passes, of each kind by itself, and
    b* = floor((1 - margin - a) / c), the smaller one of the two kinds.

    - u > high, or memory ran out: no size so large is tried again. The limit falls to min(b*, b - (u - 1 + margin) / c, b - 1),
      or to b / 2 if memory ran out.
    - u < low in three passes in turn that the limit kept from being larger: it rises to min(b*, 2 limit), below what was too
      large, and half the way there while no slope is known.
    - else it holds.

    A peak far above the line shifts the line: what lives beside the batch has grown, and one change answers it. From b0 on, the
    limit changes at most ceil(log2(b* / b0)) + 2 times if u rises with b, and once more each time that memory ran out, which
    tells no peak, where additive increase and multiplicative decrease would oscillate for ever.
    """

    high: Share = 0.9
    low: Share = 0.7
    margin: Share = 0.1
    limit: int = field(default=0, init=False)  # 0: none yet
    ceiling: int | None = field(default=None, init=False)  # the smallest size that was too large
    calm: int = field(default=0, init=False)  # passes in turn with memory to spare
    changes: int = field(default=0, init=False)
    sums: dict[str, list[float]] = field(default_factory=dict, init=False)  # n, sum b, sum u, sum b^2, sum b u by kind

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.low < self.high < 1 or not self.low < 1 - self.margin <= self.high:
            raise ValueError(
                f"low={self.low}, high={self.high}, margin={self.margin}: 0 < low < 1 - margin <= high < 1 is expected, or the "
                "limit would never come to rest"
            )

    def observe(self, size: int, used: float, *, kind: Kind = "plain", bound: bool = True) -> None:
        """A pass of this size took so much of the capacity; `bound`: it would have been larger without the limit."""
        self._shift(size, used, kind=kind)
        self._add(size, used, kind=kind)
        self.calm = self.calm + 1 if used < self.low and bound else 0
        if used > self.high:
            self.ceiling = min(size, self.ceiling or size)
            _, c = self.line(kind)
            # at which this very pass would have left the margin, so that noise does not lower the limit one by one
            enough = size + math.floor((1 - self.margin - used) / c) if c > 0 else math.inf
            self._set(min(self.best, enough, self.limit))
        elif self.calm == CALM:
            self.calm = 0
            half_way = math.inf if self.ceiling is None or self.best < math.inf else (self.limit + self.ceiling) // 2
            # noise may bend the line, but where memory is idle nothing has to shrink
            self._set(max(self.limit, min(self.best, 2 * self.limit, half_way)))

    def exhausted(self, size: int) -> None:
        """Memory ran out in a pass of this size."""
        self.calm, self.ceiling = 0, min(size, self.ceiling or size)
        self._set(min(self.best, size // 2))

    def _set(self, limit: float) -> None:
        limit = min(limit, math.inf if self.ceiling is None else self.ceiling - 1)
        found = max(1, int(limit))
        self.changes += found != self.limit
        self.limit = found

    @property
    def best(self) -> float:
        """b*; infinite while no slope is known."""
        lines = [self.line(kind) for kind in self.sums]
        return min((math.floor((1 - self.margin - a) / c + 1e-9) for a, c in lines if c > 0), default=math.inf)

    def line(self, kind: str) -> tuple[float, float]:
        """a and c; c is 0 before two sizes were seen."""
        n, b, u, bb, bu = self.sums.get(kind, [0.0] * 5)
        spread = n * bb - b * b
        c = (n * bu - b * u) / spread if spread > 1e-9 * max(1.0, bb) else 0.0
        return ((u - c * b) / n if n else 0.0), c

    def _add(self, size: int, used: float, *, kind: str) -> None:
        new = (1.0, size, used, size * size, size * used)
        self.sums[kind] = [old + more for old, more in zip(self.sums.get(kind, [0.0] * 5), new, strict=True)]

    def _shift(self, size: int, used: float, *, kind: str) -> None:
        """Move the line up to a peak that lies far above it."""
        a, c = self.line(kind)
        if c > 0 and (jump := used - a - c * size) > JUMP:
            n, b, u, bb, bu = self.sums[kind]
            self.sums[kind] = [n, b, u + n * jump, bb, bu + b * jump]


@dataclass(kw_only=True)
class MemoryBased(FeedbackScheduler):
    """The largest batch whose peak of memory leaves a margin: smaller where memory exceeds a threshold, larger where it is idle.

    The thresholds are `high` and `low`, shares of the device's memory; `MemoryControl` says how far the size moves. The first
    step is not looked at, because the optimiser allocates its state in it. The sizes follow the machine, so the same run takes
    other sizes elsewhere; memory=limit splits batches without changing their sizes.

    Source: lab sheet, memory-based adaptive batching.
    """

    not_for_blocks = "it asks how many rows fit into memory"
    needs = frozenset({Stat.MEMORY_USED})

    high: Share = 0.9
    low: Share = 0.7
    margin: Share = 0.1
    steps: int = field(default=0, init=False)  # seen so far
    control: MemoryControl = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.control = MemoryControl(high=self.high, low=self.low, margin=self.margin)

    def observe(self, seen: Observation) -> None:
        self.steps += 1
        if self.steps < 2 or not seen.uncut or not seen.stats:
            return
        self.control.limit = seen.granted
        used = seen.stats[Stat.MEMORY_USED]
        if math.isinf(used):
            self.control.exhausted(seen.granted)
        else:
            self.control.observe(seen.granted, used)
        self.size = float(self.control.limit)

    def signals(self) -> dict[str, float]:
        a, c = self.control.line("plain")
        return {"memory_fixed": a, "memory_per_row": c, "memory_best": self.control.best}
