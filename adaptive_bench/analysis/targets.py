"""A common target for all arms of a workload, and what each run spent to reach it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .curve import Curve
from .read import Runs

FRACTIONS = (1.0, 0.98, 0.95)
COSTS = ("samples", "steps", "seconds")
EARLY = 2  # a crossing up to this evaluation (the untrained model's is number 0) lies between too few points to be placed


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a validation curve meets the target and still does at its next evaluation; seconds are train + measure.

    `line` are the samples at which a straight line between the two evaluations crosses: its distance from `samples` says how much
    the interpolation decides. `first` are the samples of the first crossing, sustained or not. Not `confirmed`: the target is
    met at the last evaluation, and no other follows. `early`: met within the first two evaluations, too coarse to place it.
    """

    samples: float
    steps: float
    train: float
    measure: float
    line: float
    first: float
    confirmed: bool
    early: bool

    @property
    def seconds(self) -> float:
        return self.train + self.measure


def levels(runs: Runs, *, baseline: pd.DataFrame, fractions: Sequence[float] = FRACTIONS) -> dict[float, float]:
    """Targets start + f * (b - start): the share f of the way from the untrained model to the baseline.

    b is the median over the baseline's runs of the best validation value (the rule of AlgoPerf, Dahl et al. 2023), start the
    median at 0 samples. Perplexities are taken as logarithms: they start so high that 95 % of the plain way is almost none. Only
    runs that are done set a target; with no such run in `baseline` (its records) the targets are nan.
    """
    done = baseline[baseline["status"] == "done"]
    if done.empty:
        return dict.fromkeys(fractions, math.nan)
    start = float(np.median([runs.curve(run).value[0] for run in done["run"]]))
    best = float(done["best"].median())
    if (done["metric"] == "perplexity").all():
        return {f: math.exp((1 - f) * math.log(start) + f * math.log(best)) for f in fractions}
    # in this form f = 1 is exactly b, which start + f * (b - start) may miss by a rounding
    return {f: (1 - f) * start + f * best for f in fractions}


def crossing(curve: pd.DataFrame | Curve, *, target: float, maximise: bool) -> Crossing | None:
    """The sustained crossing of a run's own validation curve; None if it misses the target.

    A crossing is sustained if the next evaluation meets the target, too: noise that passes it once does not count. It is placed
    between its two evaluations by a monotone cubic (Fritsch and Butland 1984) in log samples, where learning curves are near
    straight; steps and seconds follow the samples linearly.
    """
    if isinstance(curve, pd.DataFrame):
        curve = Curve.of(curve)
    values, samples = curve.value, curve.samples
    met = values >= target if maximise else values <= target
    sustained = met & np.append(met[1:], True)
    if not sustained.any():
        return None
    at, first = int(sustained.argmax()), int(met.argmax())
    placed, line = _place(curve, at=at, target=target)
    before = max(at - 1, 0)
    width = samples[at] - samples[before]
    share = (placed - samples[before]) / width if width else 1.0
    others = (curve.steps, curve.train, curve.measure)
    steps, train, measure = (float(spent[before] + share * (spent[at] - spent[before])) for spent in others)
    return Crossing(
        samples=placed,
        steps=steps,
        train=train,
        measure=measure,
        line=line,
        first=placed if first == at else _place(curve, at=first, target=target)[0],
        confirmed=at + 1 < len(values),
        early=at <= EARLY,
    )


def _place(curve: Curve, *, at: int, target: float) -> tuple[float, float]:
    """The samples between evaluations `at` - 1 and `at` where the curve meets the target: by the cubic, and by a line."""
    samples, values = curve.samples, curve.value
    before = max(at - 1, 0)
    rise = values[at] - values[before]
    # met by the untrained model, or after a point that is not finite: no line to follow, so the point itself
    if not (rise and math.isfinite(rise)):
        return float(samples[at]), float(samples[at])
    line = float(samples[before] + (target - values[before]) / rise * (samples[at] - samples[before]))
    if samples[before] == 0 or curve.cubic is None or values[at] == target:
        return line, line
    found = curve.cubic.solve(target, extrapolate=False)
    inside = found[(found >= math.log(samples[before])) & (found <= math.log(samples[at]))]
    return (float(np.exp(inside[0])) if len(inside) else line), line


MISS = Crossing(
    samples=math.inf, steps=math.inf, train=math.inf, measure=math.inf, line=math.inf, first=math.inf, confirmed=True, early=False
)


def crossings(runs: Runs, records: Iterable[Mapping[str, Any]], *, target: float) -> dict[int, Crossing]:
    """The crossing of each run, by seed; MISS, in which all costs are inf, for one that does not reach the target.

    Only a run that is done can reach it. One that diverged counts as a miss even if it crossed the target earlier: its final
    model is unusable, and nobody could have known that the crossing was the moment to stop. Counting it would reward a method for
    being fast until it diverges. One that failed or was interrupted counts as a miss, too, or a rule that runs out of memory on
    its slow seeds would look perfect. One that is still running is left out.
    """
    return {record["seed"]: _crossing(runs, record, target) for record in records if record["status"] != "running"}


def costs(runs: Runs, *, records: pd.DataFrame, target: float) -> pd.DataFrame:
    """The samples, steps and seconds that each run spent to reach the target, by seed; inf is a miss, as in `crossings`."""
    found = crossings(runs, records[["run", "seed", "status", "maximise"]].to_dict("records"), target=target)  # type: ignore[arg-type]
    rows = [[getattr(each, cost) for cost in COSTS] for each in found.values()]
    return pd.DataFrame(rows, index=pd.Index(found, name="seed"), columns=list(COSTS), dtype=float)


def _crossing(runs: Runs, record: Mapping[str, Any], target: float) -> Crossing:
    if record["status"] != "done":
        return MISS
    return crossing(runs.curve(record["run"]), target=target, maximise=record["maximise"]) or MISS
