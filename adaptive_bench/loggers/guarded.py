"""A logger whose errors do not end the run."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adaptive_bench.loggers.base import Logger, Row


class Guarded(Logger):
    """Passes everything on to a mirror. At its first error it warns, and the run goes on without the mirror."""

    def __init__(self, mirror: Logger) -> None:
        self.mirror: Logger | None = mirror

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        self._tell(lambda mirror: mirror.start(steps, evaluations))

    def step(self, row: Row) -> None:
        self._tell(lambda mirror: mirror.step(row))

    def evaluation(self, row: Row) -> None:
        self._tell(lambda mirror: mirror.evaluation(row))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._tell(lambda mirror: mirror.finish(summary))

    def _tell(self, what: Callable[[Logger], None]) -> None:
        if self.mirror is None:
            return
        try:
            what(self.mirror)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"{type(self.mirror).__name__} failed ({reason}); the run goes on without it", stacklevel=2)
            self.mirror = None
