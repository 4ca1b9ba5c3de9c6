"""How far a run is, for those who look at it from outside: the sweep's bar and `adaptive-bench status`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adaptive_bench.loggers.base import Logger, Row


class Heartbeat(Logger):
    """Passes the number of samples after each step to `beat`."""

    def __init__(self, beat: Callable[[int], None]) -> None:
        self.beat = beat

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        self.beat(steps[-1]["samples"] if steps else 0)

    def step(self, row: Row) -> None:
        self.beat(row["samples"])

    def evaluation(self, row: Row) -> None:
        """Nothing: the step before said where the run is."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the run's folder keeps its end."""
