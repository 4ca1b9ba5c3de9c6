"""torch.compile: whether a run can use it, and how often it compiled."""

import os
import shutil
import sys
from collections.abc import Set as AbstractSet

import torch
from torch import nn

from adaptive_bench.stats import Stat

COMPILERS = ("c++", "g++", "clang++", "cl")


def compile_model(model: nn.Module, *, hooked: AbstractSet[Stat], estimator: str) -> None:
    """Compile the model's forward and backward pass at its first call, in place.

    The first batch size gets its own kernels, the second leads to kernels for any size; torch may compile again for an evaluation
    or a size with other divisors. Earlier compilations of this process are dropped. Raises ValueError if there is no compiler, or
    if `estimator` measures anything (`hooked`) by hooks.
    """
    if hooked:
        raise ValueError(
            f"compile=true: {estimator} measures {', '.join(sorted(hooked))} by hooks on its layers, which "
            "compiled code does not reliably run; take "
            + ("another scheduler" if Stat.ENTROPY in hooked else "estimator=microbatch")
            + " or compile=false"
        )
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
        raise ValueError("compile=true: torch needs a C++ compiler, and finds none here; install g++ or take compile=false")
    torch.compiler.reset()
    model.compile()  # dynamic=False would give up after eight sizes


def graphs() -> int:
    """The number of graphs that this process has compiled."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # nothing was compiled where it was never imported
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])
