"""How far a run is, for those who look at it from outside: the sweep's bar and `adaptive-bench status --watch`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adaptive_bench.loggers.base import Logger, Row

POINTS = 24


class Heartbeat(Logger):
    """Passes the number of samples after each step to `beat`, with the sizes so far and the last validation metric.

    Of the sizes it keeps POINTS, at equal distances of the budget: rows times positions a step.
    """

    def __init__(self, beat: Callable[..., None], *, budget: int, metric: str) -> None:
        self.beat, self.budget, self.metric = beat, budget, metric
        self.sizes: list[int] = []
        self.value: float | None = None

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        for row in evaluations:
            self.evaluation(row)
        for row in steps:
            self._size(row)
        self._beat(steps[-1]["samples"] if steps else 0)

    def step(self, row: Row) -> None:
        self._size(row)
        self._beat(row["samples"])

    def _size(self, row: Row) -> None:
        if row["samples"] * POINTS >= len(self.sizes) * self.budget:
            self.sizes.append(row["batch_size_granted"] * row["block_size_granted"])

    def _beat(self, samples: int) -> None:
        self.beat(samples=samples, budget=self.budget, sizes=self.sizes, metric=self.metric, value=self.value)

    def evaluation(self, row: Row) -> None:
        if row["split"] == "validation":
            self.value = row["value"] if math.isfinite(row["value"]) else None

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing: the run's folder keeps its end."""
