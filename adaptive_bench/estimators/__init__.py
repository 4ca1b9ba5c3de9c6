"""The backward pass, and gradient statistics measured on it."""

from adaptive_bench.estimators.auto import Auto
from adaptive_bench.estimators.base import GradientEstimator, Measurement
from adaptive_bench.estimators.coverage import coverage
from adaptive_bench.estimators.microbatch import MicroBatch
from adaptive_bench.estimators.per_sample import PerSample
from adaptive_bench.estimators.request import LossFunction
from adaptive_bench.estimators.sheet import Sheet

__all__ = ["Auto", "GradientEstimator", "LossFunction", "Measurement", "MicroBatch", "PerSample", "Sheet", "coverage"]
