"""Wall-clock seconds, charged to what they were spent on: train, measure, evaluate, store, and the warm-up."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch

NAMES = ("train", "measure", "evaluate", "store", "warmup")


class Moment(Protocol):
    """A point in time that may not have come yet, as torch.cuda.Event has it."""

    def query(self) -> bool: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds."""
        ...


class Now:
    """A point in time of the host."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: "Now") -> float:
        return 1000 * (end.at - self.at)


class Clock:
    """Seconds by purpose. An inner block pauses the outer one, so the clocks add up to the wall time of the outermost blocks.

    A CUDA device computes behind the host, and asking it for the time would hold up both. So an event is put into its queue at
    each border between two blocks, and counts once the device has come past it: what it has not finished is not in `seconds` yet,
    and enters them later. `settle` waits for it. Between two events passes what the device takes, or the host where it is slower.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = dict.fromkeys(NAMES, 0.0)
        self._open: list[str] = []  # the blocks that are running, the innermost one last
        self._last: Moment = Now()
        self._ahead = deque[tuple[str, Moment, Moment]]()  # what no reading has added yet, with its beginning and end

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Charge the block to `name`. Whatever runs inside a warm-up is charged to the warm-up."""
        self._charge()
        self._open.append("warmup" if "warmup" in self._open else name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def _charge(self) -> None:
        """Add the time since the last reading to the innermost block."""
        now = _event() if self.device.type == "cuda" else Now()
        if self._open:
            self._ahead.append((self._open[-1], self._last, now))
        self._last = now

    @property
    def seconds(self) -> dict[str, float]:
        """By name, of what is finished."""
        while self._ahead and self._ahead[0][2].query():
            name, start, end = self._ahead.popleft()
            self._seconds[name] += start.elapsed_time(end) / 1000
        return self._seconds

    def settle(self) -> None:
        """Wait until everything so far is finished."""
        if self._ahead:
            self._ahead[-1][2].synchronize()

    def state_dict(self) -> dict[str, float]:
        self.settle()
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.settle()
        self.seconds.update({name: state[name] for name in NAMES})


def _event() -> Moment:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
