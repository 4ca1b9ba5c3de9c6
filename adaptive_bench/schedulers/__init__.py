"""Rules for the batch size and the block size. Each works in a loop of your own: ask `propose`, then call `observe`.

A scheduler needs one file in this folder and nothing else: `from adaptive_bench.schedulers import DiveBatch` finds the class that
divebatch.py defines. Type checkers cannot look into the folder and know the classes listed below. A class that is not in the
list is typed when it is imported from its own file, as in `from adaptive_bench.schedulers.divebatch import DiveBatch`.
"""

import importlib
import pkgutil
from inspect import isabstract
from typing import TYPE_CHECKING

from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.sizes import BatchShape, Position, SizeRange
from adaptive_bench.stats import Observation, Stat

if TYPE_CHECKING:
    from adaptive_bench.schedulers.adadamp import AdaDamp as AdaDamp
    from adaptive_bench.schedulers.cabs import CABS as CABS
    from adaptive_bench.schedulers.confidence import Confidence as Confidence
    from adaptive_bench.schedulers.controls import Jump as Jump
    from adaptive_bench.schedulers.controls import MeanMatched as MeanMatched
    from adaptive_bench.schedulers.controls import Replay as Replay
    from adaptive_bench.schedulers.controls import Reversed as Reversed
    from adaptive_bench.schedulers.controls import Shuffled as Shuffled
    from adaptive_bench.schedulers.critical_warmup import CriticalWarmup as CriticalWarmup
    from adaptive_bench.schedulers.cyclical import Cyclical as Cyclical
    from adaptive_bench.schedulers.deba import Deba as Deba
    from adaptive_bench.schedulers.deba_flags import DebaFlags as DebaFlags
    from adaptive_bench.schedulers.divebatch import DiveBatch as DiveBatch
    from adaptive_bench.schedulers.divebatch_oracle import DiveBatchOracle as DiveBatchOracle
    from adaptive_bench.schedulers.exponential import AdaBatch as AdaBatch
    from adaptive_bench.schedulers.exponential import Exponential as Exponential
    from adaptive_bench.schedulers.fixed import Fixed as Fixed
    from adaptive_bench.schedulers.gns import GradientNoiseScale as GradientNoiseScale
    from adaptive_bench.schedulers.goodput import Goodput as Goodput
    from adaptive_bench.schedulers.inner_product_test import InnerProductTest as InnerProductTest
    from adaptive_bench.schedulers.linear import Linear as Linear
    from adaptive_bench.schedulers.loss import LossBased as LossBased
    from adaptive_bench.schedulers.memory import MemoryBased as MemoryBased
    from adaptive_bench.schedulers.norm_test import NormTest as NormTest
    from adaptive_bench.schedulers.plateau import Plateau as Plateau
    from adaptive_bench.schedulers.random_bptt import RandomBptt as RandomBptt
    from adaptive_bench.schedulers.root import Root as Root
    from adaptive_bench.schedulers.simigrad import SimiGrad as SimiGrad
    from adaptive_bench.schedulers.smith import Seesaw as Seesaw
    from adaptive_bench.schedulers.smith import Smith as Smith
    from adaptive_bench.schedulers.step import Step as Step

__all__ = ["BatchShape", "Observation", "Position", "SizeRange", "SizeScheduler", "Stat"]

for _found in pkgutil.iter_modules(__path__):
    for _name, _value in vars(importlib.import_module(f"{__name__}.{_found.name}")).items():
        if isinstance(_value, type) and issubclass(_value, SizeScheduler) and not isabstract(_value):
            globals()[_name] = _value
            __all__ += [_name]
