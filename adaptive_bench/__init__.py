"""A referee for adaptive batch-size and block-size (sequence-length) schedulers.

The public API is what the packages below export. Each of them is loaded when it is first used, so that
`adaptive_bench.schedulers` needs no torch and `adaptive_bench.analysis` nothing that trains.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptive_bench import analysis, datasets, estimators, models, schedulers, serving, streams

__version__ = "0.1.0"
__all__ = ["analysis", "datasets", "estimators", "models", "schedulers", "serving", "streams"]

if not TYPE_CHECKING:  # a type checker would take any name for granted

    def __getattr__(name: str) -> object:
        if name in __all__:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
