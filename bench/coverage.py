"""Whether the statistics of the tables keep their promises, on simulated tables whose truth is known.

`python bench/coverage.py [--tables 4000] [--part means|causes|grids|noise|family|power|verdicts]` prints, for each part, how
often intervals hold the truth, how far speed-ups are off, how often some p or verdict is wrong, and the power at the stated
detectable effect. All of it goes through the functions that make the tables. Without --part it takes about half an hour.
"""

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from adaptive_bench.analysis import verdict
from adaptive_bench.analysis.arms import PARTS, STATUSES, Arm, ArmSummary, Question, _parts
from adaptive_bench.analysis.arms import speedup as speedup_of
from adaptive_bench.analysis.break_even import break_even
from adaptive_bench.analysis.compare import Comparison, difference, ratio
from adaptive_bench.analysis.detectable import ALPHA, detectable
from adaptive_bench.analysis.effects import EFFECTS, effects
from adaptive_bench.analysis.intervals import NO_INTERVAL, Interval, log_t_interval, percent_interval, t_interval
from adaptive_bench.analysis.tables import _judged
from adaptive_bench.analysis.targets import Crossing, crossing
from adaptive_bench.experiment.grid import points

SHARED, OWN = 0.05, 0.03  # sd of the log time scale: of both runs of a pair together, and of each run
SPEEDUP = 2.0
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1 - exp(-s)": lambda s: 1 - np.exp(-s),
    "s / (1 + s)": lambda s: s / (1 + s),
    "1 - (1 + s)^-.5": lambda s: 1 - (1 + s) ** -0.5,
    "1 - (1 + s)^-2": lambda s: 1 - (1 + s) ** -2.0,
}
TIMES: dict[str, Callable[[float], float]] = {  # the inverse functions
    "1 - exp(-s)": lambda v: -math.log(1 - v),
    "s / (1 + s)": lambda v: v / (1 - v),
    "1 - (1 + s)^-.5": lambda v: (1 - v) ** -2 - 1,
    "1 - (1 + s)^-2": lambda v: (1 - v) ** -0.5 - 1,
}
BUDGET = 8.0  # time scales of the baseline, after which its best value sets the target
EPOCH = 10_000  # samples in one time scale
EVERY = (9.0, 4.5, 2.2, 1.1, 0.9)  # evaluations until the baseline crosses; the arm takes half as many
GEOMETRIC = {"first": 0.05, "factor": 1.3}
NOISES = ((0.003, 0.009), (0.005, 0.015))  # of the baseline and of the arm
HALF = 400.0  # B_half of the device on which two arms take the same time
RESOLUTION, ACCURACY, SPREAD, MARGIN = 0.05, 93.0, 0.3, 0.5  # points


@dataclass(frozen=True, kw_only=True)
class Speedups:
    """Estimated speed-ups of many tables against the true one."""

    bias: float  # of the geometric mean, as a share
    covered: float
    refused: float  # tables without a speed-up because a crossing came too early

    @classmethod
    def of(cls, found: list[Comparison], *, truth: float) -> "Speedups":
        usable = [each for each in found if not math.isnan(each.estimate)]
        if not usable:
            return cls(bias=math.nan, covered=math.nan, refused=1.0)
        bias = math.exp(float(np.mean([each.estimate for each in usable]))) / truth - 1
        return cls(bias=bias, covered=covered((each.effect for each in usable), truth), refused=1 - len(usable) / len(found))


def covered(intervals: Iterable[Interval], truth: float) -> float:
    """The share of intervals that hold `truth`."""
    return float(np.mean([each.low <= truth <= each.high for each in intervals]))


def rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values / RESOLUTION) * RESOLUTION


def pair(values: Iterable[float], *, start: int = 0) -> pd.Series:
    """Values by seed."""
    data = np.asarray(values, dtype=float)
    return pd.Series(data, index=range(start, start + len(data)))


def means(*, n: int, tables: int, seed: int = 0) -> dict[str, float]:
    """Coverage of the intervals of means, of a paired ratio and of the parts of a speed-up, with n runs an arm."""
    rng = np.random.default_rng(seed)
    plain = [t_interval(rng.normal(3, 1, n)) for _ in range(tables)]
    logs = [log_t_interval(np.exp(rng.normal(0, 0.2, n))) for _ in range(tables)]
    percent = [percent_interval(rounded(rng.normal(ACCURACY, SPREAD, n)), resolution=RESOLUTION) for _ in range(tables)]
    paired, changes, parts = [], [], dict[str, list[Interval]]((name, []) for name in PARTS)
    truths = dict(zip(PARTS, (SPEEDUP, 0.8, 0.9), strict=True))
    for _ in range(tables):
        together = rng.normal(0, SHARED, n)
        both = [pair(np.exp(together + rng.normal(0, OWN, n)) / speed) for speed in (1, SPEEDUP)]
        paired.append(ratio(*both).effect)
        quality = rng.normal(ACCURACY, SPREAD, n)
        left, right = (pair(rounded(quality + rng.normal(shift, SPREAD, n))) for shift in (0, 0.2))
        changes.append(difference(left, right, resolution=RESOLUTION).effect)
        arms = [
            arm(_spent(rng, samples, speeds)) for samples, speeds in zip(both, (dict.fromkeys(PARTS, 1.0), truths), strict=True)
        ]
        for name, part in _parts(baseline=arms[0], arm=arms[1]).items():
            parts[name].append(part.effect)
    found = {
        "mean, t": covered(plain, 3),
        "geometric mean, log t": covered(logs, 1),
        "percent": covered(percent, ACCURACY),
        "paired difference": covered(changes, 0.2),
        "paired ratio": covered(paired, SPEEDUP),
    }
    return found | {f"part: {name}": covered(parts[name], truths[name]) for name in PARTS}


def _spent(rng: np.random.Generator, samples: pd.Series, speeds: dict[str, float]) -> list[Crossing]:
    """Costs whose parts vary by seed around 1 / speed."""
    n = len(samples)
    train = samples * np.exp(rng.normal(0, 0.1, n)) / speeds["hardware"]
    seconds = train * (1 + np.exp(rng.normal(0, 0.1, n))) / speeds["overhead"]
    return [
        Crossing(samples=at, steps=at, train=trained, measure=all_of_it - trained, line=at, first=at, confirmed=True, early=False)
        for at, trained, all_of_it in zip(samples, train, seconds, strict=True)
    ]


def grid(shape: str, *, every: float | None, largest: float | None = 1) -> np.ndarray:
    """Evaluations in samples, from the untrained model on: `every` is how many the baseline takes, None the geometric grid."""
    end = 2.5 * crossed_at(shape)
    wanted = {**GEOMETRIC, "largest": largest} if every is None else crossed_at(shape) / every
    return np.array([0, *points(wanted, epoch_samples=EPOCH, budget=round(end * EPOCH))], dtype=float)


def crossed_at(shape: str, fraction: float = 0.95) -> float:
    """When the baseline's mean curve meets its target, in time scales."""
    return TIMES[shape](fraction * float(SHAPES[shape](np.array(BUDGET))))


def run(samples: np.ndarray, values: np.ndarray, *, target: float) -> Crossing:
    """Where a run crosses the target: a sample takes 1 ms."""
    curve = pd.DataFrame(
        {"samples": samples, "step": samples / 32, "seconds_train": samples / 1000, "seconds_measure": 0.0, "value": values}
    )
    found = crossing(curve, target=target, maximise=True)
    assert found is not None  # grids end long after the target
    return found


def arm(found: list[Crossing]) -> Arm:
    """An arm whose runs crossed the target here."""
    return Arm(label="", records=(), values={}, crossings=dict(enumerate(found)))


def causes(*, n: int, tables: int, seed: int = 0) -> dict[str, float]:
    """Coverage of the effects that an arm has and its controls have not, and of its break-even on devices, with n runs an arm."""
    rng = np.random.default_rng(seed)
    truths = {"variation": 1.5, "order": 1.1, "feedback": 1.0}
    question = Question(
        metric="final", logs=False, percent=True, resolution=RESOLUTION, maximise=True, endpoint="samples", margin=MARGIN,
        family=2, seeds=set(range(n)), claims=(),
    )  # fmt: skip
    found: dict[str, list[Interval]] = {name: [] for name in truths}
    changes, evens = [], []
    for _ in range(tables):
        together = rng.normal(0, SHARED, n)
        arms = [_labelled("gns", np.exp(together + rng.normal(0, OWN, n)), rounded(rng.normal(ACCURACY, SPREAD, n)))]
        for name, truth in truths.items():
            spent = truth * np.exp(together + rng.normal(0, OWN, n))
            arms.append(_labelled(f"gns: {EFFECTS[name]}", spent, rounded(rng.normal(ACCURACY, SPREAD, n))))
        for effect in effects(arms, question=question):
            found[effect.name].append(effect.speedup.effect)
            changes.append(effect.change.effect)
        # half the updates for so many samples that both take the same time at HALF
        both = [np.exp(together + rng.normal(0, OWN, n)) for _ in range(2)]
        baseline, other = ((1_000.0, 32_000.0), (500.0, HALF * 500 + 32_000.0))
        made = [
            arm([_crossing(samples * scale, steps=steps * scale) for scale in scales])
            for (steps, samples), scales in zip((baseline, other), both, strict=True)
        ]
        even = break_even(*made)
        assert even is not None
        evens.append(Interval(mean=even.at, low=even.low, high=even.high, n=n))
    shares = {f"effect: {name}": covered(found[name], truths[name]) for name in truths}
    return shares | {"effect on the metric": covered(changes, 0), "break-even": covered(evens, HALF)}


def _labelled(label: str, spent: np.ndarray, values: np.ndarray) -> Arm:
    of = {"scheduler.of": label.partition(": ")[0]} if ": " in label else {}
    return Arm(
        label=label,
        records=({"settings": of},),
        values=dict(enumerate(values.tolist())),
        crossings={seed: _crossing(cost) for seed, cost in enumerate(spent.tolist())},
    )


def _crossing(samples: float, *, steps: float = 1.0) -> Crossing:
    return Crossing(
        samples=samples, steps=steps, train=1.0, measure=0.0, line=samples, first=samples, confirmed=True, early=False
    )


def grids(shape: str, samples: np.ndarray, *, tables: int, n: int = 5, seed: int = 0) -> Speedups:
    """Speed-ups of an arm that is twice as fast, from curves without noise on a grid of evaluations."""
    rng, curve = np.random.default_rng(seed), SHAPES[shape]
    target = float(curve(np.array(crossed_at(shape))))
    found = []
    for _ in range(tables):
        together, arms = rng.normal(0, SHARED, n), []
        for speed in (1, SPEEDUP):
            scales = EPOCH / speed * np.exp(together + rng.normal(0, OWN, n))
            arms.append(arm([run(samples, curve(samples / scale), target=target) for scale in scales]))
        found.append(speedup_of("samples", baseline=arms[0], arm=arms[1]))
    return Speedups.of(found, truth=SPEEDUP)


def noise(*, tables: int, n: int = 5, seed: int = 0, sizes: tuple[float, float] = NOISES[1]) -> dict[str, Speedups]:
    """Speed-ups of an arm with the baseline's mean curve and other validation noise, by first and sustained crossing.

    `sizes` are the noise of both, as shares of the way from the untrained model to the end of the curve.
    """
    rng, shape = np.random.default_rng(seed), "1 - exp(-s)"
    samples = np.array([0, *points(0.25, epoch_samples=EPOCH, budget=10 * EPOCH)], dtype=float)
    target = float(SHAPES[shape](np.array(crossed_at(shape, 0.98))))
    found: dict[str, list[Comparison]] = {"first": [], "sustained": []}
    for _ in range(tables):
        together, arms = rng.normal(0, SHARED, n), []
        for size in sizes:
            scales = EPOCH * np.exp(together + rng.normal(0, OWN, n))
            values = [SHAPES[shape](samples / scale) + rng.normal(0, size, len(samples)) for scale in scales]
            arms.append(arm([run(samples, each, target=target) for each in values]))
        found["first"].append(ratio(*({seed: at.first for seed, at in each.crossings.items()} for each in arms)))
        found["sustained"].append(speedup_of("samples", baseline=arms[0], arm=arms[1]))
    return {name: Speedups.of(each, truth=1) for name, each in found.items()}


def judged_table(
    rng: np.random.Generator, *, arms: int, speedup: float = 1.0, change: float = 0.0, spread: float = SPREAD, n: int = 5
) -> tuple[ArmSummary, ...]:
    """The rows of a table with `arms` arms against one baseline, all with the same true speed-up and change of the metric."""
    question = Question(
        metric="final", logs=False, percent=True, resolution=RESOLUTION, maximise=True, endpoint="samples", margin=MARGIN,
        family=2 * arms, seeds=set(range(n)), claims=(),
    )  # fmt: skip
    paired = rng.normal(0, 1, (2, n))  # what both runs of a seed share, of metric and cost
    rows, usual = [], list[pd.Series]()
    for at in range(arms + 1):
        here = at > 0
        own = rng.normal(0, 1, (2, n))
        final = pair(rounded(ACCURACY + here * change + spread * (paired[0] + own[0])))
        cost = pair(np.exp(SHARED * paired[1] + OWN * own[1]) / (speedup if here else 1))
        if not here:
            usual = [final, cost]
        found = question.change(usual[0], final) if here else None
        rows.append(
            ArmSummary(
                label=str(at), counts=dict.fromkeys(STATUSES, 0) | {"done": n}, missing=(), value=NO_INTERVAL, change=found,
                p_worse=question.p_worse(found) if found else math.nan, totals={}, reached=n, costs={},
                speedups={"samples": ratio(usual[1], cost)} if here else {}, parts={}, log_rank=math.nan, detectable=NO_INTERVAL,
                inactive=0, early=0, unconfirmed=0, first=0, published=(), control_of="",
                verdict="" if here else verdict.BASELINE,
            )
        )  # fmt: skip
    return _judged(rows, question)


def family(*, arms: int, tables: int, seed: int = 0) -> float:
    """The share of tables without any effect that have some corrected p below 5 %."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(tables):
        rows = judged_table(rng, arms=arms)[1:]
        wrong += min(min(row.holm, row.speedup_holm) for row in rows) < verdict.SIGNIFICANT
    return wrong / tables


def said(
    text: str, *, arms: int, tables: int, speedup: float = 1.0, change: float = 0.0, spread: float = SPREAD, seed: int = 0
) -> float:
    """The share of tables that say `text` of some arm."""
    rng = np.random.default_rng(seed)
    drawn = (judged_table(rng, arms=arms, speedup=speedup, change=change, spread=spread) for _ in range(tables))
    return sum(any(row.verdict == text for row in rows) for rows in drawn) / tables


def power(*, n: int, family: int, tables: int, welch: bool = False, seed: int = 0) -> float:
    """The mean power of the printed test, on new data of the same true spread, at the effect that the first data stated.

    nan if no table stated one.
    """
    rng = np.random.default_rng(seed)
    start = n if welch else 0  # other seeds: nothing is paired

    def costs(effect: float) -> Comparison:
        both = (np.exp(OWN * rng.normal(size=n) - shift) for shift in (0.0, effect))
        return ratio(*(pair(each, start=first) for each, first in zip(both, (0, start), strict=True)))

    stated = [detectable(costs(0.0), family=family).mean for _ in range(tables)]
    usable = [math.log(each) for each in stated if not math.isnan(each)]
    return float(np.mean([costs(effect).p * family < ALPHA for effect in usable])) if usable else math.nan


def _print(console: Console, title: str, heads: list[str], rows: list[list[str]]) -> None:
    out = Table(title=title, title_justify="left")
    for at, head in enumerate(heads):
        out.add_column(head, justify="left" if at == 0 else "right")
    for row in rows:
        out.add_row(*row)
    console.print(out)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def print_means(console: Console, tables: int) -> None:
    found = {n: means(n=n, tables=tables) for n in (3, 5, 10)}
    rows = [[name, *(_percent(found[n][name]) for n in found)] for name in found[3]]
    _print(console, "coverage of 95 % intervals (%)", ["", *(f"n = {n}" for n in found)], rows)


def print_causes(console: Console, tables: int) -> None:
    found = {n: causes(n=n, tables=tables) for n in (3, 5, 10)}
    rows = [[name, *(_percent(found[n][name]) for n in found)] for name in found[3]]
    _print(console, "effects against controls, break-even: coverage (%)", ["", *(f"n = {n}" for n in found)], rows)


def print_grids(console: Console, tables: int) -> None:
    rows = []
    for shape in SHAPES:
        places: dict[str, np.ndarray] = {f"every 1/{every:g}": grid(shape, every=every) for every in EVERY}
        places |= {"geometric": grid(shape, every=None), "geometric, no largest": grid(shape, every=None, largest=None)}
        for name, samples in places.items():
            at = [int((samples[1:] < crossed_at(shape) * EPOCH / speed).sum()) for speed in (1, SPEEDUP)]
            found = grids(shape, samples, tables=tables)
            rows.append([shape, name, *map(str, at), *map(_percent, (found.bias, found.covered, found.refused))])
    heads = ["curve", "grid", "before baseline's", "before arm's", "bias (%)", "covered (%)", "refused (%)"]
    _print(console, f"speed-up {SPEEDUP:g}: evaluations before the mean crossing, bias, coverage", heads, rows)


def print_noise(console: Console, tables: int) -> None:
    found = {sizes: noise(tables=tables, sizes=sizes) for sizes in NOISES}
    rows = [
        [f"{sizes[0]:g}, {sizes[1]:g}", name, f"{1 + each.bias:.3f}", _percent(each.covered)]
        for sizes, both in found.items()
        for name, each in both.items()
    ]
    _print(console, "speed-up 1, an arm with three times the noise", ["noise", "crossing", "ratio", "covered (%)"], rows)


def print_family(console: Console, tables: int) -> None:
    rows = [[str(arms), _percent(family(arms=arms, tables=tables))] for arms in (4, 11, 28)]
    _print(console, "tables without effect that show one", ["arms", "%"], rows)


def print_power(console: Console, tables: int) -> None:
    designs = [(f"{n} pairs", n, False) for n in (2, 3, 4, 5, 10)] + [("Welch, 5 and 5", 5, True)]
    rows = [
        [name, *(_percent(power(n=n, family=size, tables=tables, welch=welch)) for size in (1, 8, 22))]
        for name, n, welch in designs
    ]
    _print(console, "mean power at the detectable effect (%)", ["", *(f"family {size}" for size in (1, 8, 22))], rows)


def print_verdicts(console: Console, tables: int) -> None:
    truths = {  # speed-up, change of the metric and its spread
        "faster, worse by the margin": (SPEEDUP, -MARGIN, SPREAD),
        "equal": (1.0, 0.0, SPREAD),
        "equal, spread 0.05": (1.0, 0.0, 0.05),
    }
    rows = []
    for name, (speedup, change, spread) in truths.items():
        text = verdict.FASTER_NOT_WORSE
        shares = [said(text, arms=n, tables=tables, speedup=speedup, change=change, spread=spread) for n in (4, 11)]
        rows.append([name, *map(_percent, shares)])
    _print(console, f"tables that say {verdict.FASTER_NOT_WORSE!r} of some arm (%)", ["truth", "4 arms", "11 arms"], rows)


PRINTED = {
    "means": print_means, "causes": print_causes, "grids": print_grids, "noise": print_noise,
    "family": print_family, "power": print_power, "verdicts": print_verdicts,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=4000)
    parser.add_argument("--part", choices=PRINTED, action="append")
    chosen = parser.parse_args()
    for name in chosen.part or PRINTED:
        PRINTED[name](Console(width=130), chosen.tables)


if __name__ == "__main__":
    main()
