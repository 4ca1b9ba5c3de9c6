"""The machine of a run: what is set at start-up, and what is kept in the record."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from adaptive_bench.execution import ranks
from adaptive_bench.execution.memory import glibc
from adaptive_bench.schema import UNKNOWN_JOBS

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEEP = 1 << 30  # bytes
CUDA_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")  # of torch before 2.9, and since


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a run was trained: columns of its record."""

    device: str
    threads: int
    jobs: int  # UNKNOWN_JOBS if the launcher does not say
    ranks: int
    allocator: str
    commit: str
    dirty: bool
    sources: str
    python: str
    torch: str
    adaptive_bench: str

    @property
    def described(self) -> str:
        """The device with all that its seconds depend on; asked of the device, so only where the run is trained."""
        return self.device if self.device == "cpu" else f"cuda: {accelerator()}"

    @property
    def timing(self) -> str:
        """The conditions of timing; seconds are comparable only under equal ones."""
        ranks = f", ranks {self.ranks}" if self.ranks > 1 else ""
        return (
            f"device {self.described}, threads {self.threads}, jobs {self.jobs or 'unknown'}, allocator {self.allocator}{ranks}"
        )


def prepare(
    *, device: str, threads: int | None, jobs: int | None, elsewhere: bool = False, deterministic: bool = False
) -> Machine:
    """Set allocator and number of threads of this process; returns what was set.

    `threads=None` divides the cores among the `jobs` that run at the same time, and further among the ranks of a job. Where a
    launcher starts runs on machines of its own choice (`jobs=None`), each takes all cores that it may use. `deterministic`: see
    `be_deterministic`.
    Raises ValueError for a missing device, unless it is another machine's (`elsewhere`), and for fewer threads than 1.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device={device}: cpu, cuda or auto is expected")
    if device == "cuda" and not elsewhere and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch finds no CUDA device here; take device=cpu or device=auto")
    if threads is None:
        threads = max(1, available_cores() // ((jobs or 1) * ranks.here()))
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: a whole number from 1 up is expected, or null for cores / jobs")
    torch.set_num_threads(threads)
    be_deterministic(deterministic and device == "cuda")
    commit, dirty = source()
    return Machine(
        device=device,
        threads=threads,
        jobs=UNKNOWN_JOBS if jobs is None else jobs,
        ranks=ranks.count(),
        allocator=tune_allocator() if device == "cpu" else tune_cuda_allocator(),
        commit=commit,
        dirty=dirty,
        sources=sources(),
        python=platform.python_version(),
        torch=torch.__version__,
        adaptive_bench=version("adaptive_bench"),
    )


def available_cores() -> int:
    """Number of cores that this process may use; a job manager may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def tune_allocator() -> str:
    """Let glibc keep large buffers instead of returning them to the system at every step.

    Without this, a CPU takes up to three times as long for a large batch, and tables would blame the batch. Thresholds that the
    user set in the environment are kept. Returns the state, for the record.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return "environment"
    if (library := glibc()) is None:
        return "default"
    set_both = all(library.mallopt(option, KEEP) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
    return "glibc, buffers kept" if set_both else "default"


def tune_cuda_allocator() -> str:
    """Let segments of memory grow, so that batches of another size fit into what earlier ones have left.

    A user's own settings are kept. It counts if no CUDA tensor was made before. Returns the settings, for the record.
    """
    if not any(name in os.environ for name in CUDA_ALLOCATOR):
        os.environ[CUDA_ALLOCATOR[0]] = "expandable_segments:True"
    return " ".join(os.environ[name] for name in CUDA_ALLOCATOR if name in os.environ)


def be_deterministic(wanted: bool) -> None:
    """Only CUDA kernels that give the same bits each time. Torch raises an error where an operation has none."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # counts before cuBLAS starts
    if wanted != torch.are_deterministic_algorithms_enabled():  # to set it imports torch's compiler, at each start
        torch.use_deterministic_algorithms(wanted)


@cache
def accelerator() -> str:
    """The CUDA device in use, and the versions of what computes on it."""
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


@cache
def source() -> tuple[str, bool]:
    """The commit of this package and whether code or configuration differ from it; ("", False) outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "", False
    git = ("git", "-C", str(root))
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # code and configuration can change a run, and so can new files
        command = [*git, "status", "--porcelain", "--", "adaptive_bench", "conf"]
        status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "", False
    return commit, bool(status.strip())


@cache
def sources() -> str:
    """A digest of the files of this package that a run passes through: all code except what only reads results or serves."""
    package, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package)
        if name.parts[0] not in ("analysis", "loggers", "serving", "__main__.py"):
            code = file.read_bytes()
            digest.update(f"{name.as_posix()} {len(code)}\n".encode() + code)
    return digest.hexdigest()[:16]
