"""The backward pass, and gradient statistics measured on it."""

from adaptive_bench.estimators.auto import Auto
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.coverage import coverage
from adaptive_bench.estimators.microbatch import MicroBatch, Sheet
from adaptive_bench.estimators.per_sample import PerSample
from adaptive_bench.estimators.request import BackwardResult
from adaptive_bench.streams.base import LossFunction

__all__ = ["Auto", "BackwardResult", "GradientEstimator", "LossFunction", "MicroBatch", "PerSample", "Sheet", "coverage"]
