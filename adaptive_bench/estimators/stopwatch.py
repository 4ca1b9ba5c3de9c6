"""Seconds of work on a device, added up over many short stretches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass(kw_only=True)
class Stopwatch:
    """Wall-clock time. An accelerator is synchronised before each reading: its kernels run behind the clock's back."""

    device: torch.device
    seconds: float = field(default=0.0, init=False)

    @contextmanager
    def running(self) -> Iterator[None]:
        start = self._read()
        yield
        self.seconds += self._read() - start

    def _read(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()
