"""The machine under a run: what is set on it at start-up, and what of it stands in the record."""

import ctypes
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from adaptive_bench.execution import ranks

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEEP = 1 << 30  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a run ran: columns of its record."""

    device: str
    threads: int
    jobs: int
    ranks: int
    allocator: str
    commit: str
    dirty: bool
    python: str
    torch: str
    adaptive_bench: str

    @property
    def timing(self) -> str:
        """The conditions under which seconds can be compared."""
        ranks = f", ranks {self.ranks}" if self.ranks > 1 else ""
        return f"device {self.device}, threads {self.threads}, jobs {self.jobs}, allocator {self.allocator}{ranks}"


def prepare(*, device: str, threads: int | None, jobs: int) -> Machine:
    """Set the allocator and the number of threads for this process, and say what was set.

    `threads=None` shares the cores among the `jobs` that run at the same time, and those of a job among its ranks.
    Raises ValueError for a device that is not there and for a number of threads below 1.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device={device}: cpu, cuda or auto is expected")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch finds no CUDA device here; take device=cpu or device=auto")
    if threads is None:
        threads = max(1, available_cores() // (jobs * ranks.here()))
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: a whole number from 1 up is expected, or null for cores / jobs")
    torch.set_num_threads(threads)
    commit, dirty = source()
    return Machine(
        device=device,
        threads=threads,
        jobs=jobs,
        ranks=ranks.count(),
        allocator=tune_allocator(),
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=torch.__version__,
        adaptive_bench=version("adaptive_bench"),
    )


def available_cores() -> int:
    """Cores this process may use; fewer than the machine has where a job manager gave it a share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def tune_allocator() -> str:
    """Let glibc keep big buffers instead of handing them back to the system at every step.

    Untuned, a CPU takes up to three times as long for a large batch, and every table would blame the batch.
    Thresholds that the user set in the environment are left alone. Returns what now holds, for the record.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return "environment"
    if platform.libc_ver()[0] != "glibc":
        return "default"
    mallopt = ctypes.CDLL(None).mallopt
    set_both = all(mallopt(option, KEEP) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
    return "glibc, buffers kept" if set_both else "default"


@cache
def source() -> tuple[str, bool]:
    """The commit this package is at and whether code or configuration differ from it; ("", False) outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "", False
    git = ("git", "-C", str(root))
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # what can change a run: code and configuration, new files among them
        command = [*git, "status", "--porcelain", "--", "adaptive_bench", "conf"]
        status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "", False
    return commit, bool(status.strip())
