"""Signals that end a run at its next step, after a checkpoint, instead of at once."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_received: list[int] = []  # of this process, which trains nothing more after the first one
_parent = [os.getppid()]  # joblib's workers are not told of its death, and its number may go to another process
os.register_at_fork(after_in_child=lambda: _parent.__setitem__(0, os.getppid()))


class Interrupted(SystemExit):
    """A signal ended the work of this process. The exit code is 128 + its number, as of a shell's commands."""

    code: int

    @classmethod
    def by(cls, number: int) -> "Interrupted":
        return cls(128 + number)

    def __str__(self) -> str:
        return signal.Signals(self.code - 128).name


def note(number: int, frame: FrameType | None) -> None:
    """The handler of a signal: it is kept for `received`. A second SIGINT ends at once."""
    if _received and number == signal.SIGINT:
        raise KeyboardInterrupt
    _received.append(number)


def received() -> int:
    """The number of the first signal to this process; 0 without one. To a worker, its parent's death is as SIGTERM."""
    orphaned = multiprocessing.parent_process() is not None and os.getppid() != _parent[0]
    return _received[0] if _received else signal.SIGTERM * orphaned


@contextmanager
def handled_by(handler: "signal._HANDLER") -> Iterator[None]:
    """In the block, `handler` gets the signals. Threads other than the main one get none, and change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler_before in before.items():
            signal.signal(each, signal.SIG_DFL if handler_before is None else handler_before)
