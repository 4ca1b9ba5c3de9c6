"""Four clocks, train, measure, evaluate and store, and the warm-up apart from them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

NAMES = ("train", "measure", "evaluate", "store", "warmup")


class Clock:
    """Wall-clock seconds by purpose. The clocks exclude each other, so they add up to the time that was clocked.

    The device is synchronised before a clock is read: work still queued on it belongs to the clock that started it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(NAMES, 0.0)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Charge the block to `name`. Blocks are not nested."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - start

    def move(self, seconds: float, *, source: str, to: str) -> None:
        """Charge seconds that ran under `source` to another clock."""
        self.seconds[source] -= seconds
        self.seconds[to] += seconds

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds = {name: state[name] for name in NAMES}
