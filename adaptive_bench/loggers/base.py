"""The interface of a logger."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]


class Logger(ABC):
    """Told in this order: start, then step and evaluation as they happen, then finish, whatever ends the run."""

    @abstractmethod
    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        """The run begins, or resumes after the rows given."""

    @abstractmethod
    def step(self, row: Row) -> None:
        """One row of the trace."""

    @abstractmethod
    def evaluation(self, row: Row) -> None:
        """One row of the evaluations."""

    @abstractmethod
    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run ended; `summary` holds at least its status, and the whole record if it is finished."""
