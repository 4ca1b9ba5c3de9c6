"""A common target for all arms of a workload, and what each run spent to reach it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from .read import Runs

FRACTIONS = (1.0, 0.98, 0.95)
COSTS = ("samples", "steps", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a validation curve first meets the target; seconds are train + measure."""

    samples: float
    steps: float
    seconds: float


def levels(runs: Runs, *, baseline: pd.DataFrame, fractions: Sequence[float] = FRACTIONS) -> dict[float, float]:
    """Targets start + f * (b - start): the share f of the way from the untrained model to the baseline.

    b is the median over the baseline's runs of the best validation value (the rule of AlgoPerf, Dahl et al. 2023), start the
    median at 0 samples. Perplexities are taken as logarithms: they start so high that 95 % of the plain way is almost none. Runs
    that diverged set no target; with no other run in `baseline` (its records) the targets are nan.
    """
    done = baseline[baseline["status"] == "done"]
    if done.empty:
        return dict.fromkeys(fractions, math.nan)
    start = float(np.median([runs.validation(run)["value"].iloc[0] for run in done["run"]]))
    best = float(done["best"].median())
    if (done["metric"] == "perplexity").all():
        return {f: math.exp((1 - f) * math.log(start) + f * math.log(best)) for f in fractions}
    # in this form f = 1 is exactly b, which start + f * (b - start) may miss by a rounding
    return {f: (1 - f) * start + f * best for f in fractions}


def crossing(curve: pd.DataFrame, *, target: float, maximise: bool) -> Crossing | None:
    """The first crossing of a run's own validation curve, linear between its points; None if it misses the target."""
    values = curve["value"].to_numpy(dtype=float)
    met = values >= target if maximise else values <= target
    if not met.any():
        return None
    at = int(met.argmax())
    before = max(at - 1, 0)
    rise = values[at] - values[before]
    # met by the untrained model, or after a point that is not finite: no line to follow, so the point itself
    share = (target - values[before]) / rise if rise and math.isfinite(rise) else 1.0
    position = curve[["samples", "step", "seconds_train", "seconds_measure"]].to_numpy(dtype=float)
    samples, steps, train, measure = position[before] + share * (position[at] - position[before])
    return Crossing(samples=float(samples), steps=float(steps), seconds=float(train + measure))


def costs(runs: Runs, *, records: pd.DataFrame, target: float) -> pd.DataFrame:
    """What each run spent to reach the target, by seed; inf is a miss.

    A run that diverged counts as a miss even if it crossed the target earlier: its final model is unusable, and nobody could have
    known that the crossing was the moment to stop. Counting it would reward a method for being fast until it diverges.
    """
    rows = [_cost(runs, record=record, target=target) for record in records.to_dict("records")]
    return pd.DataFrame(rows, index=pd.Index(records["seed"], name="seed"), columns=list(COSTS), dtype=float)


def _cost(runs: Runs, *, record: dict[Any, Any], target: float) -> dict[str, float]:
    found = None
    if record["status"] == "done":
        found = crossing(runs.validation(record["run"]), target=target, maximise=record["maximise"])
    return asdict(found) if found else dict.fromkeys(COSTS, math.inf)
