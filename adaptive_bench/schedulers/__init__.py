"""Rules for the batch size and the block size. Each works in anybody's own loop: ask `propose`, tell `observe`.

A file in this folder is all it takes: `from adaptive_bench.schedulers import DiveBatch` finds what divebatch.py holds.
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
