"""A CUDA device that is not there: tensors that say cuda:0, are computed on the CPU, and are refused what a GPU refuses.

It finds tensors of two devices in one operation, a CPU's generator where a CUDA one is needed, a state of cuDNN's LSTM that is
not contiguous, random numbers that a checkpoint does not restore, and it counts what makes the host wait for the device, by
file and line. It cannot show what the kernels of a GPU compute: cuDNN's choices, TF32, autocast, and what runs out of order.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from adaptive_bench.execution.clock import Now

DEVICE = torch.device("cuda:0")
NO_DATA = torch.device("meta")
PACKAGE = str(Path(__file__).resolve().parents[2] / "adaptive_bench")
aten = torch.ops.aten
# operations that wait for the device, because the host needs a number, or because the size of their result depends on values
WAITS = {
    aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
    aten.unique_dim.default, aten.unique_consecutive.default, aten.repeat_interleave.Tensor, aten.bincount.default,
}  # fmt: skip
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
COPIES = {aten.copy_.default, aten._to_copy.default}


class OnDevice(Tensor):
    """A tensor of the device. To torch it is one without data, so that nothing takes it for one of the CPU: `held` has them."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        with torch.inference_mode(False):  # a view that is made in inference mode is an ordinary tensor
            made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=NO_DATA
            )
        made.held = held.detach()
        return made

    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: a tensor of the pretended device is used outside of it")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Any:
        copied = torch.nn.Parameter(self.detach().clone()) if isinstance(self, torch.nn.Parameter) else self.detach().clone()
        memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return copied


class Pretended(TorchDispatchMode):
    """The device. `waits` counts what made the host wait for it, by the place in the package."""

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # torch starts no driver under a mode of this kind
        self.waits = Counter[str]()
        self.random = torch.Generator().manual_seed(0).get_state()

    def wait(self, *_: Any) -> None:
        """Note that the host waits here."""
        frame = sys._getframe()
        while frame.f_back is not None and not frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        self.waits[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        ours = {id(each.held): each for each in tensors if isinstance(each, OnDevice)}
        target = kwargs.get("device")
        if target is not None and target.type in ("cuda", "meta"):
            kwargs["device"], here = torch.device("cpu"), True
        else:
            here = target is None and bool(ours)
        if func is aten.copy_.default:
            here = isinstance(args[0], OnDevice)
        self._check(func, args, kwargs, tensors, here=here)
        held_args, held_kwargs = tree_map(_held, (args, kwargs))
        if func in COPIES and not here and ours:
            held_kwargs.pop("device", None)
            result = func(*held_args, **held_kwargs)
            result = result.clone() if func is aten._to_copy.default else args[0]
        elif here and torch.Tag.nondeterministic_seeded in func.tags:
            with self._own_random():
                result = func(*held_args, **held_kwargs)
        else:
            result = func(*held_args, **held_kwargs)
        if not here or func is aten._local_scalar_dense.default:
            return result
        return tree_map(lambda each: _there(each, ours), result)

    def _check(self, func: Any, args: Any, kwargs: Mapping[str, Any], tensors: list[Tensor], *, here: bool) -> None:
        ours = [isinstance(each, OnDevice) for each in tensors]
        if func in COPIES:
            source = args[1] if func is aten.copy_.default else args[0]
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if isinstance(source, OnDevice) != here and waits:
                self.wait()
            return
        if any(ours) and func in INDEXING:
            indices = [each for each in args[1] if each is not None]
            if any(each.dtype in (torch.bool, torch.uint8) or not isinstance(each, OnDevice) for each in indices):
                self.wait()
            tensors = [args[0], *args[2:3]]
            ours = [isinstance(each, OnDevice) for each in tensors]
        if any(ours) and not all(mine or each.dim() == 0 for mine, each in zip(ours, tensors, strict=True)):
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found cuda:0 and cpu")
        if any(ours) and func in WAITS:
            self.wait()
        if here and kwargs.get("generator") is not None:
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        host = torch.get_rng_state()
        torch.set_rng_state(self.random)
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(host)


class Event(Now):
    """Of torch.cuda. The device is never behind, so its moment is when it is made."""

    def __init__(self, device: Pretended, *, enable_timing: bool) -> None:
        super().__init__()
        self.device = device

    def record(self) -> None:
        super().__init__()

    def synchronize(self) -> None:
        self.device.wait()


class Functions(TorchFunctionMode):
    """What torch would choose by the device before it gets to an operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map(_without_driver, (args, kwargs or {}))
        if func is torch.tensor and kwargs.get("device") == NO_DATA:
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        lstm = func is torch._VF.lstm and isinstance(args[0], OnDevice)  # type: ignore[attr-defined]
        if lstm and not all(each.is_contiguous() for each in args[1]):
            raise RuntimeError("rnn: hx is not contiguous")
        return func(*args, **kwargs)


def _without_driver(value: Any) -> Any:
    """A device that torch asks no driver about, for the one that is not there."""
    return NO_DATA if isinstance(value, torch.device) and value.type == "cuda" else value


def _there(value: Any, ours: Mapping[int, OnDevice]) -> Any:
    """A result on the device: what was changed in place is still the same tensor."""
    return ours[id(value)] if id(value) in ours else OnDevice(value) if isinstance(value, Tensor) else value


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnDevice) else value


@contextmanager
def pretended_cuda() -> Iterator[Pretended]:
    """In the block, torch has a CUDA device."""
    mode = Pretended()
    load = torch.load

    def load_there(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
        found = load(*args, map_location="cpu", **kwargs)
        there = map_location is not None and torch.device(map_location).type == "cuda"
        return tree_map(lambda each: OnDevice(each) if isinstance(each, Tensor) else each, found) if there else found

    move = nn.Module.to

    def moved(*args: Any, **kwargs: Any) -> Any:
        """The model's own parameters, as on a GPU, so that modules go on sharing one."""
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return move(*args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)

    def seed(value: int) -> None:
        mode.random = torch.Generator().manual_seed(value).get_state()

    def restore(state: Tensor, *_: Any) -> None:
        mode.random = state.clone()

    nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731
    cuda = {
        "is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0, "synchronize": mode.wait,
        "get_rng_state": lambda *_: mode.random.clone(), "set_rng_state": restore, "manual_seed_all": seed, "manual_seed": seed,
        "empty_cache": nothing, "get_device_name": lambda *_: "pretended", "reset_peak_memory_stats": nothing,
        "mem_get_info": lambda *_: (2**30, 2**31), "max_memory_reserved": lambda *_: 2**20, "memory_reserved": lambda *_: 2**20,
        "max_memory_allocated": lambda *_: 2**20,
    }  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(nn.Module, "to", moved))
        stack.enter_context(mock.patch.multiple(torch.cuda, **cuda, Event=partial(Event, mode)))
        stack.enter_context(mock.patch.object(torch.accelerator, "synchronize", mode.wait))
        stack.enter_context(mock.patch.object(torch, "load", load_there))
        stack.enter_context(mock.patch.object(torch.backends.cudnn, "version", lambda: 90000))
        # else nn.LSTM puts its weights into one piece of memory for cuDNN
        stack.enter_context(mock.patch.object(torch.backends.cudnn, "is_acceptable", lambda *_: False))
        stack.enter_context(Functions())
        stack.enter_context(mode)
        yield mode
