"""The learning rate of every arm of a sweep, chosen with the same budget on seeds that have no part in the table."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import OmegaConf

from adaptive_bench.experiment.build import RunSpec
from adaptive_bench.experiment.plans import planned
from adaptive_bench.experiment.sweep import check_writable
from adaptive_bench.experiment.tuned import KEY
from adaptive_bench.files import replacing

RATES, FACTOR, SEEDS = 5, 2.0, (100, 101)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How an arm is tuned: `rates` learning rates, each `factor` times the one before, around the arm's own; on these `seeds`."""

    rates: int = RATES
    factor: float = FACTOR
    seeds: tuple[int, ...] = SEEDS

    def __post_init__(self) -> None:
        if self.rates < 2:
            raise ValueError(f"--rates {self.rates}: a grid of two rates or more is expected; one leaves nothing to choose")
        if not 1 < self.factor < math.inf:
            raise ValueError(f"--factor {self.factor:g}: a number above 1 is expected, between one rate and the next")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds {', '.join(map(str, self.seeds)) or 'none'}: different seeds are expected")

    def around(self, rate: float) -> list[float]:
        return [rounded(rate * self.factor ** (at - (self.rates - 1) // 2)) for at in range(self.rates)]


def rounded(rate: float) -> float:
    """To six digits, as it stands on a command line."""
    return float(f"{rate:.6g}")


def tune(
    sweep: str, overrides: Sequence[str], *, grid: Grid, output: Path, conf: Path, train: Callable[[list[str]], int]
) -> list[str]:
    """Train the grid of every arm in RESULTS/tuning, write the choices to `output`, and return a line for each arm.

    An arm's value at a rate is the median over the seeds of the best validation value; a run that diverged has the worst. Where
    the best rate is the smallest or the largest of the grid, one more beyond it is tried, once. Finished runs stay.
    `train` is the command of that name. Raises ValueError.
    """
    common = [f"sweep={sweep}", *overrides]
    runs = planned(common, conf=conf)
    own = _own_rates(runs, sweep=sweep)
    if shared := sorted({run.seed for run in runs} & {*grid.seeds}):
        raise ValueError(f"seed {shared[0]} is one of the sweep's own; tune on seeds that have no part in it (--seeds)")
    check_writable(output.parent)
    common += [f"results={runs[0].results / 'tuning'}", f"seed={','.join(map(str, grid.seeds))}"]
    rates = {arm: grid.around(rate) for arm, rate in own.items()}
    found = _values(rates, common, conf=conf, train=train)
    beyond = {arm: [rate] for arm in own if (rate := _beyond(found[arm], grid.factor)) is not None}
    if beyond:
        more = _values(beyond, common, conf=conf, train=train)
        found = {arm: Found.joined(found[arm], more[arm]) if arm in more else found[arm] for arm in found}
    content = {
        "dataset": runs[0].choices["dataset"],
        "model": runs[0].choices["model"],
        "seeds": [*grid.seeds],
        "arms": {arm: each.content(extended=arm in beyond) for arm, each in found.items()},
    }
    with replacing(output) as part:
        part.write_text(
            f"# made by `adaptive-bench tune {sweep}`; a run takes its rate with optimizer.lr='${{{KEY}:FILE}}'\n"
            + OmegaConf.to_yaml(OmegaConf.create(content))
        )
    return [each.line(arm, extended=arm in beyond) for arm, each in found.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the grid of an arm gave: the value at each rate, nan where more than half of the runs diverged."""

    values: Mapping[float, float]
    maximise: bool
    samples: int

    @classmethod
    def joined(cls, first: "Found", second: "Found") -> "Found":
        values = dict(sorted((first.values | second.values).items()))  # type: ignore[operator]
        return cls(values=values, maximise=first.maximise, samples=first.samples + second.samples)

    @property
    def best(self) -> float:
        """The rate with the best value; of equal ones the smallest. Raises ValueError if every run diverged."""
        usable = {rate: value for rate, value in self.values.items() if math.isfinite(value)}
        if not usable:
            raise ValueError(f"every rate diverged ({', '.join(f'{rate:g}' for rate in self.values)}); start from a smaller one")
        sign = 1 if self.maximise else -1
        return max(usable, key=lambda rate: (sign * usable[rate], -rate))

    def content(self, *, extended: bool) -> dict[str, Any]:
        return {
            "chosen": self.best,
            "rates": [*self.values],
            "values": [value if math.isfinite(value) else None for value in self.values.values()],
            "extended": extended,
            "samples": self.samples,
        }

    def line(self, arm: str, *, extended: bool) -> str:
        shown = ", ".join(f"{rate:g}: {value:.4g}" for rate, value in self.values.items())
        edge = self.best in (min(self.values), max(self.values))
        more = " (extended once)" if extended else ""
        return f"{arm}: {self.best:g} of {shown}{more}" + (", still at the edge of its grid" if edge else "")


def _own_rates(runs: Sequence[RunSpec], *, sweep: str) -> dict[str, float]:
    """The learning rate that the sweep gives to each arm. Raises ValueError for a sweep that cannot be tuned."""
    places = sorted({f"{run.choices['dataset']} / {run.choices['model']}" for run in runs})
    if len(places) > 1:
        raise ValueError(
            f"sweep={sweep} has several workloads ({', '.join(places)}); tune one at a time, such as with model=NAME"
        )
    cells = Counter((run.choices["arm"], run.seed) for run in runs)
    if several := [arm for (arm, _), count in cells.items() if count > 1]:
        raise ValueError(
            f"sweep={sweep} has several runs of {several[0]} with one seed, and one rate for all of them would be kept; "
            "set what differs to one value, by an override, and tune again for the next"
        )
    if unnamed := [run.title for run in runs if not run.choices["arm"]]:
        raise ValueError(f"sweep={sweep}: {unnamed[0]} has no arm=NAME, under which its rate would be kept; sweep over arms")
    return {run.choices["arm"]: float(run.settings["optimizer"]["lr"]) for run in runs}


def _values(
    rates: Mapping[str, Sequence[float]], common: Sequence[str], *, conf: Path, train: Callable[[list[str]], int]
) -> dict[str, Found]:
    """Train every arm at its rates and read what came out. Arms with the same rates are trained as one sweep."""
    found = {}
    for grid, arms in itertools.groupby(sorted(rates, key=lambda arm: [*rates[arm]]), key=lambda arm: tuple(rates[arm])):
        named = [*arms]
        words = [*common, f"arm={','.join(named)}", f"optimizer.lr={','.join(f'{rate:g}' for rate in grid)}"]
        if train(words):
            raise ValueError("some runs of the grid have no result (see above); mend what failed and tune again: others are kept")
        runs = planned(words, conf=conf)
        for arm in named:
            found[arm] = _found([run for run in runs if run.choices["arm"] == arm])
    return {arm: found[arm] for arm in rates}


def _found(runs: Sequence[RunSpec]) -> Found:
    by_rate: dict[float, list[dict[str, Any]]] = {}
    for run in runs:
        by_rate.setdefault(float(run.settings["optimizer"]["lr"]), []).append(run.folder.record())
    records = [record for several in by_rate.values() for record in several]
    maximise = bool(records[0]["maximise"])
    worst = -math.inf if maximise else math.inf
    values = {
        rate: median([float(record["best"]) if record["status"] == "done" else worst for record in several])
        for rate, several in sorted(by_rate.items())
    }
    return Found(
        values={rate: value if math.isfinite(value) else math.nan for rate, value in values.items()},
        maximise=maximise,
        samples=sum(int(record["samples"]) for record in records),
    )


def _beyond(found: Found, factor: float) -> float | None:
    """One rate beyond the grid, where the best one is at its edge."""
    if found.best == max(found.values):
        return rounded(found.best * factor)
    return rounded(found.best / factor) if found.best == min(found.values) else None
