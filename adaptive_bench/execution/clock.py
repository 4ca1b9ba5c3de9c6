"""Wall-clock seconds, charged to what they were spent on: train, measure, evaluate, store, and the warm-up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

NAMES = ("train", "measure", "evaluate", "store", "warmup")


class Clock:
    """Seconds by purpose. An inner block pauses the outer one, so the clocks add up to the wall time of the outermost blocks.

    Kernels of an accelerator run asynchronously, so the device is synchronised before each reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(NAMES, 0.0)
        self._open: list[str] = []  # the blocks that are running, the innermost one last
        self._read_at = 0.0

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
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._read_at
        self._read_at = now

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds = {name: state[name] for name in NAMES}
