"""Schedulers of the batch size and the block size, for any training loop: `propose` before a step, `observe` after it.

A new scheduler is a file in this folder: `from adaptive_bench.schedulers import DiveBatch` finds the class in divebatch.py.
"""

import importlib
import pkgutil
from inspect import isabstract
from typing import TYPE_CHECKING, Any

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import BatchShape, Position, SizeRange
from adaptive_bench.stats import Observation, Stat

__all__ = ["BatchShape", "Observation", "Position", "SizeRange", "SizeScheduler", "Stat"]

for _found in pkgutil.iter_modules(__path__):
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_found.name}")).items():
        if isinstance(_value, type) and issubclass(_value, SizeScheduler) and not isabstract(_value):
            globals()[_name] = _value
            __all__ += [_name]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
