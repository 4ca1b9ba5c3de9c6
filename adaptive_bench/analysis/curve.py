"""A validation curve as arrays, with the cubic through its points."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

COLUMNS = ("samples", "step", "seconds_train", "seconds_measure", "value")  # of evaluations.parquet, in the order of a Curve


@dataclass(frozen=True, eq=False)
class Curve:
    """Values by what had been spent at each evaluation. Read once for all the targets that it may be asked for."""

    samples: np.ndarray
    steps: np.ndarray
    train: np.ndarray
    measure: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Curve":
        """From a run's rows of evaluations.parquet."""
        return cls(*(frame[name].to_numpy(dtype=float) for name in COLUMNS))

    @property
    def seconds(self) -> np.ndarray:
        both: np.ndarray = self.train + self.measure
        return both

    @cached_property
    def cubic(self) -> PchipInterpolator | None:
        """The monotone cubic of Fritsch and Butland (1984) in log samples, through the finite values after 0 samples.

        None of less than three points: two have no slopes but their own line.
        """
        good = np.isfinite(self.value) & (self.samples > 0) & np.append(True, np.diff(self.samples) > 0)
        return PchipInterpolator(np.log(self.samples[good]), self.value[good]) if good.sum() > 2 else None
