"""Files that several processes share: each is complete or absent, and a lock says whether somebody writes them."""

import os
import tempfile
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


def check_writable(path: Path) -> None:
    """Make the folder of a file that is to be written. Raises ValueError if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error}); choose another with -o FILE") from error


def is_alive(process: int) -> bool:
    """Whether a process of this machine with this number is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with filelock.FileLock(lock).acquire(timeout=0):
            return False
    except OSError:  # a Timeout is one; so is a folder of somebody else's, about which nothing is known
        return True
