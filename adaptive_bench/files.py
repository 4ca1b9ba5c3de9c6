"""Files that several processes share: each is complete or absent, and a lock says whether somebody writes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces `path` when the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):  # already renamed, or never created
            part.unlink()


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with filelock.FileLock(lock).acquire(timeout=0):
            return False
    except OSError:  # a Timeout is one; so is a folder of somebody else's, about which nothing is known
        return True
