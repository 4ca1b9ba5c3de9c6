"""Several processes that train one model: each takes its rows of every batch, and their gradients are added up."""

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from adaptive_bench.execution.physical_batch import nearly_equal

Agreed = TypeVar("Agreed")
LOST_AFTER = timedelta(minutes=10)  # without an answer; the longest wait is for the first rank's checkpoint
BUCKET = 25 * 2**20  # bytes of gradients a message, as torch's DistributedDataParallel has it
STARTED = "TORCHELASTIC_RUN_ID"  # torchrun sets it, and next to it RANK, WORLD_SIZE and the same of the machine, LOCAL_...


class RankLost(SystemExit):
    """Another rank is gone: the run ends as interrupted, and goes on from its checkpoint when it is started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """One process of a distributed run. Every rank makes the same calls in the same order; a single rank sends nothing.

    torch's DistributedDataParallel averages gradients as they come. Here a rank's own gradient is measured before it is added to
    those of the others, and ranks may have different numbers of rows, so that the sum is formed after the backward pass.
    Every rank loads all data, augments the whole batch and evaluates whole splits; only the passes of a step are divided.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes."""
        return self.rank == 0

    def share(self, total: int, *, least: int = 1) -> tuple[int, int]:
        """The half-open range [start, end) of the `total` items that this rank owns.

        Shares differ by one at most. If `total` is less than `least` for each rank, the last ranks get nothing; only a rank
        that owns all items may own fewer than `least`.
        """
        shares = nearly_equal(total, min(self.count, max(1, total // least)))
        start = sum(shares[: self.rank])
        return start, start + sum(shares[self.rank : self.rank + 1])  # empty for ranks without items

    def all_reduce(self, *values: Tensor | float) -> list[Tensor | float]:
        """The sum of each value over the ranks, as numbers; a single rank's values as they are."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor([float(value) for value in values], dtype=torch.float64)  # on the CPU: gloo's, not NCCL's
        self._call(distributed.all_reduce, sums)
        totals: list[Tensor | float] = sums.tolist()
        return totals

    def sum(self, parts: Mapping[nn.Parameter, Tensor], *, over: Sequence[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """The sum over the ranks of a tensor for each parameter; zero where a rank has none, missing where no rank has one.

        `over` are all parameters, in an order that is every rank's. The tensors are replaced in place. They travel in buckets,
        of which the next one is filled while one is on its way. None leaves before the backward pass is over: a rank on which
        memory runs out makes its pass again, and nothing that it has sent could be taken back.
        """
        if self.count == 1:
            return dict(parts)
        holders = self.all_reduce(*(parameter in parts for parameter in over))
        # zeros_like keeps the parameter's memory format, which fused optimisers expect of a gradient
        mine = {p: parts[p] if p in parts else torch.zeros_like(p) for p, count in zip(over, holders, strict=True) if count}
        going = deque[tuple[Any, Tensor, list[Tensor]]]()

        def arrive() -> None:
            message, flat, parts = going.popleft()
            self._call(message.wait)
            for part, summed in zip(parts, torch.split(flat, [part.numel() for part in parts]), strict=True):
                part.copy_(summed.view_as(part))

        for bucket in _buckets(mine.values()):
            flat = torch.cat([part.flatten() for part in bucket])
            going.append((self._call(distributed.all_reduce, flat, async_op=True), flat, bucket))
            if len(going) > 1:
                arrive()
        while going:
            arrive()
        return mine

    def add_up(self, values: Tensor) -> None:
        """Replace each value by its sum over the ranks."""
        if self.count > 1:
            self._call(distributed.all_reduce, values)

    def from_first(self, value: Agreed) -> Agreed:
        """The first rank's value."""
        if self.count == 1:
            return value
        box = [value]
        self._call(distributed.broadcast_object_list, box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Agreed) -> list[Agreed]:
        """Every rank's value."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        self._call(distributed.all_gather_object, values, value)
        return values

    def broadcast(self, model: nn.Module) -> None:
        """Replace all parameters and buffers of a model by the first rank's: BatchNorm's running statistics differ."""
        if self.count > 1:
            for tensor in model.state_dict().values():
                self._call(distributed.broadcast, tensor, src=0)

    def _call(self, collective: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return collective(*arguments, **options)
        except RuntimeError as error:  # of a closed connection or a timeout; distributed's own errors are RuntimeErrors
            reason = str(error).partition("\n")[0]
            raise RankLost(f"rank {self.rank} of {self.count} lost another one ({reason})") from error


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, as many to a bucket as fit into it, and one at least."""
    bucket, filled = list[Tensor](), 0
    for each in tensors:
        if bucket and filled + each.nbytes > BUCKET:
            yield bucket
            bucket, filled = [], 0
        bucket.append(each)
        filled += each.nbytes
    if bucket:
        yield bucket


def here() -> int:
    """How many processes of a run `torchrun` has started on this machine; 1 without it."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if STARTED in os.environ else 1


def count() -> int:
    """How many it has started on all machines."""
    return int(os.environ["WORLD_SIZE"]) if STARTED in os.environ else 1


def refuse_several(what: str) -> None:
    """Raises ValueError if `torchrun` has started several processes for something that is no single run."""
    if count() > 1:
        raise ValueError(f"torchrun has started {count()} processes, which train one run together: start {what} without torchrun")


def join(device: torch.device) -> Ranks:
    """Meet the other ranks that `torchrun` has started; a single one without it. Tensors on CUDA go by NCCL, others by gloo.

    On CUDA each takes the device of its number, which is its current one from then on. Raises ValueError if there are too few.
    """
    if count() == 1:
        return Ranks()
    if device.type == "cuda":
        own = int(os.environ["LOCAL_RANK"])
        if own >= torch.cuda.device_count():
            raise ValueError(
                f"torchrun has started {here()} processes on this machine, which has {torch.cuda.device_count()} CUDA devices; "
                "lower --nproc-per-node, or take device=cpu; if each sees only its own device, give torchrun --virtual-local-rank"
            )
        torch.cuda.set_device(own)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=LOST_AFTER)
        atexit.register(distributed.destroy_process_group)
    return Ranks(rank=distributed.get_rank(), count=distributed.get_world_size())
