"""torch.compile: whether it can be used for a run, and how often it was."""

import os
import shutil
import sys
from collections.abc import Set as AbstractSet

import torch
from torch import nn

from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.stats import Stat

COMPILERS = ("c++", "g++", "clang++", "cl")


def compile_model(model: nn.Module, estimator: GradientEstimator, needs: AbstractSet[Stat]) -> None:
    """Have the model's forward and backward pass compiled when it is first called, in place.

    The first size gets kernels of its own; the second one leads to kernels for any size, within torch's rules: a size that does
    not divide like those before, or an evaluation, may be compiled once more. What earlier runs of this process have compiled is
    forgotten. Raises ValueError for needs that the estimator measures by hooks, and if there is no compiler.
    """
    if hooked := estimator.hooked(needs):
        raise ValueError(
            f"compile=true: {type(estimator).__name__} measures {', '.join(sorted(hooked))} by hooks on its layers, which "
            "compiled code does not reliably run; take "
            + ("another scheduler" if Stat.ENTROPY in hooked else "estimator=microbatch")
            + " or compile=false"
        )
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
        raise ValueError("compile=true: torch needs a C++ compiler, and finds none here; install g++ or take compile=false")
    torch.compiler.reset()
    model.compile()  # dynamic=False would give up after eight sizes


def graphs() -> int:
    """How many graphs this process has compiled so far."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # nothing was compiled where it was never imported
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])
