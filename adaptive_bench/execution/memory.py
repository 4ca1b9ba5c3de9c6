"""How much memory a pass took at its peak, and whether an error means that it ran out."""

import ctypes
import platform
import resource
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar, final

import torch

OUT_OF_MEMORY = (
    *("DefaultCPUAllocator", "could not create a primitive"),  # the second is oneDNN's
    # what libraries of CUDA say where they got no memory for themselves
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS_INTERNAL_ERROR", "nable to find an engine"),
)
Made = TypeVar("Made")
PROCESS = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


def ran_out(error: BaseException) -> bool:
    """Whether the error means that memory ran out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    # "could not create a primitive descriptor" is oneDNN's word for what it does not support
    return isinstance(error, RuntimeError) and "descriptor" not in text and any(part in text for part in OUT_OF_MEMORY)


@cache
def glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def free_unused() -> None:
    """Give back what allocators keep for later: large buffers of the heap, and with them addresses and the resident set; and on
    CUDA pieces in sizes that smaller passes have no use for.
    """
    if (library := glibc()) is not None:
        library.malloc_trim(0)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


class Portions:
    """Rows of passes without gradients, at most `most` at once: half as many from the first time on that memory runs out."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, rows: int, compute: Callable[[int, int], Made]) -> Iterator[Made]:
        """`compute` of the rows [start, stop), portion by portion. It may be called again for the same rows.

        Raises ValueError if a single row does not fit.
        """
        start = 0
        while start < rows:
            stop, error = min(rows, start + self.most), None
            try:
                made = compute(start, stop)
            except (RuntimeError, MemoryError) as found:
                if not ran_out(found):
                    raise
                error = str(found)
            if error is None:  # outside `except`: the exception keeps the activations alive
                yield made
                start = stop
            elif stop - start == 1:
                raise ValueError(f"a single row does not fit into the device's memory: {error}")
            else:
                self.most = (stop - start) // 2
                free_unused()


class Gauge(Protocol):
    """Reads the peak of memory since the last reset: as a share of what this process could take at most, and in bytes."""

    def reset(self) -> None: ...

    def used(self) -> float: ...

    def peak(self) -> int: ...


def gauge(device: torch.device) -> Gauge:
    """The gauge of a device. Raises ValueError where peaks cannot be read."""
    return CudaGauge(device) if device.type == "cuda" else CpuGauge()


@final
class CudaGauge:
    """The allocator's peak over what is free on the device or held by this process: memory of neighbours counts as taken.

    The peak is that of reserved memory: what fragmentation keeps cannot be allocated.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def reset(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def used(self) -> float:
        free, _ = torch.cuda.mem_get_info(self.device)
        return torch.cuda.max_memory_reserved(self.device) / (free + torch.cuda.memory_reserved(self.device))

    def peak(self) -> int:
        """Of allocated memory: what an earlier, larger batch has left reserved is not this one's."""
        return torch.cuda.max_memory_allocated(self.device)


@final
class CpuGauge:
    """The resident set's peak over what the process held and could still get at the last reset.

    That is the least of: the room below its control group's memory.max, the machine's MemAvailable, and the room below RLIMIT_AS,
    to which free pieces of the heap belong. The kernel's out-of-memory killer raises nothing, so a limit has to stay below it.
    """

    def __init__(self) -> None:
        """Raises ValueError where the kernel does not let a process reset its peak."""
        try:
            self.reset()
        except OSError as error:
            raise ValueError(
                f"memory: the peak of this process cannot be reset here ({error}), which takes Linux's /proc/self/clear_refs; "
                "leave memory=null"
            ) from error

    def reset(self) -> None:
        free_unused()
        (PROCESS / "clear_refs").write_text("5")  # the peak is the present resident set
        status = _table(PROCESS / "status")
        room = [_table(Path("/proc/meminfo"))["MemAvailable"], *_group_room()]
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            room.append(max(0, limit - status["VmSize"]) + _free_in_heap())
        self.capacity = status["VmRSS"] + min(room)

    def used(self) -> float:
        return self.peak() / self.capacity

    def peak(self) -> int:
        """Of the resident set: the data and the libraries of the process, too."""
        return _table(PROCESS / "status")["VmHWM"]


class _MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(f"other{number}", ctypes.c_size_t) for number in range(8)] + [
        ("fordblks", ctypes.c_size_t),
        ("last", ctypes.c_size_t),
    ]


def _free_in_heap() -> int:
    """Bytes that the allocator has addresses for and nobody uses; 0 where it does not say."""
    if (library := glibc()) is None or not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _MallInfo
    return int(library.mallinfo2().fordblks)


def _group_room() -> list[int]:
    """Bytes below the control group's limit, if there is one."""
    try:
        limit, taken = ((CGROUPS / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [] if limit == "max" else [max(0, int(limit) - int(taken))]


def _table(path: Path) -> dict[str, int]:
    """The entries in kB of a file of /proc, in bytes."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[2:] == ["kB"]}
