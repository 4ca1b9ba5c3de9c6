"""Every arm for the batch size against the formula of its source, in float64, on what its own run has measured."""

import math
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.assemble import experiment
from tests.conftest import composed

N, EPOCHS, FIRST, MEDIUM, LARGEST = 400, 12, 16, 48, 128
BUDGET = N * EPOCHS
SMALL = (
    "model=mlp", f"epochs={EPOCHS}", f"dataset.train_size={N}", "workload.delta=0.001",
    f"workload.medium={MEDIUM}", f"batch_size.maximum={LARGEST}", "lr_schedule=cosine",
)  # fmt: skip
NO_COSINE = ("adabatch", "smith", "cabs")  # bring a schedule of their own, in which a cosine's settings would stand


@dataclass
class Run:
    """The steps of a run; `before` are the samples before each. What a rule wishes for a step may use the earlier ones only."""

    rows: list[dict[str, Any]]
    values: list[float]  # of the validation metric, at the ends of the epochs
    before: list[int]

    @property
    def granted(self) -> list[int]:
        return [row["batch_size_granted"] for row in self.rows]

    def ends(self) -> Iterator[tuple[int, list[int]]]:
        """The last step of each epoch but the run's, and the steps since the one that ended the epoch before."""
        since: list[int] = []
        for step, row in enumerate(self.rows):
            since.append(step)
            if row["samples"] // N > self.before[step] // N and row["samples"] < BUDGET:
                yield step, since
                since = []

    def mean(self, name: str, steps: list[int]) -> float:
        """Over steps, weighted by their samples."""
        seen = [(self.rows[step]["batch_size"], self.rows[step][name]) for step in steps]
        return sum(count * value for count, value in seen) / sum(count for count, _ in seen)

    def average(self, name: str, half_life: float = N, of: Callable[[float], float] = float, since: int = 0) -> list[float]:
        """After each step: sum_j w_j x_j / sum_j w_j, w_j = (1 - k_j) prod_{i > j} k_i, k_i = 2^(-its samples / half_life)."""
        found = [math.nan] * len(self.rows)
        for now in range(since, len(self.rows)):
            keeps = [0.5 ** (row["batch_size"] / half_life) if half_life else 0.0 for row in self.rows[since : now + 1]]
            weights = [(1 - keep) * math.prod(keeps[j + 1 :]) for j, keep in enumerate(keeps)]
            values = [of(row[name]) for row in self.rows[since : now + 1]]
            found[now] = sum(map(float.__mul__, weights, map(float, values))) / sum(weights)
        return found

    def noise(self) -> list[float]:
        """B_simple after each step, a ratio of averages."""
        moments = zip(self.average("grad_variance"), self.average("grad_sq_norm"), strict=True)
        return [max(variance, 0.0) / sq_norm if sq_norm > 0 else math.inf for variance, sq_norm in moments]


def by_clock(size: Callable[[float, float], float]) -> Callable[[Run], list[float]]:
    """A wish as a function of the epoch and of the share of the budget."""
    return lambda run: [size(samples / N, samples / BUDGET) for samples in run.before]


def each_step(run: Run, size: Callable[[int], float]) -> list[float]:
    """The wish after each step, from what is known then, for the next one."""
    return [FIRST, *(size(step) for step in range(len(run.rows) - 1))]


def each_epoch(run: Run, size: Callable[[int, list[int], float], float]) -> list[float]:
    """A wish that changes at the ends of epochs: from the last step, the epoch's steps and the wish so far."""
    wishes, wish = [float(FIRST)] * len(run.rows), float(FIRST)
    for end, steps in run.ends():
        wish = size(end, steps, wish)
        wishes[end + 1 :] = [wish] * (len(run.rows) - end - 1)
    return wishes


def cosine(fraction: float) -> float:
    return (1 + math.cos(math.pi * fraction)) / 2


def smith(epoch: float, fraction: float) -> float:
    return 0.2 ** sum(fraction + 1e-9 >= share for share in (0.3, 0.6, 0.8))


def critical(epoch: float, fraction: float) -> float:
    points = [(0, 1), (0.1, 512), (0.3, 1024), (1, 1536)]
    (left, low), (right, high) = next(pair for pair in pairwise(points) if fraction < pair[1][0])
    size = low + (high - low) * (fraction - left) / (right - left)
    return FIRST * 2 ** max(0, math.floor(math.log2(size / FIRST) + 1e-9))


def plateau(run: Run) -> list[float]:
    best, stalled = -math.inf, 0

    def size(end: int, steps: list[int], wish: float) -> float:
        nonlocal best, stalled
        value = run.values[run.rows[end]["samples"] // N - 1]
        if value > best + 1e-4 * abs(best) or best == -math.inf:
            best, stalled = value, 0
        else:
            stalled += 1
        if stalled <= 2:
            return wish
        stalled = 0
        return run.granted[end] * 2

    return each_epoch(run, size)


def loss(run: Run, *, newest: float = 1.0, response: Callable[[float], float] = lambda change: 1 - 5 * change) -> list[float]:
    last: list[float] = []

    def size(end: int, steps: list[int], wish: float) -> float:
        mean = run.mean("loss", steps)
        last.append(newest * mean + (1 - newest) * last[-1] if last else mean)
        if len(last) < 2:
            return wish
        change = (last[-1] - last[-2]) / abs(last[-2])
        return run.granted[end] * (1 if abs(change) <= 0.01 else min(max(response(change), 0.8), 1.25))

    return each_epoch(run, size)


def loss_variance(run: Run, *, sign: int = 1) -> list[float]:
    last: list[float] = []

    def size(end: int, steps: list[int], wish: float) -> float:
        last.append(run.mean("loss", steps))
        if len(last) < 5:
            return wish
        excess = sign * (statistics.pstdev(last[-5:]) / abs(statistics.fmean(last[-5:])) - 0.1)
        return run.granted[end] * (1 if abs(excess) <= 0.01 else min(max(1 - 5 * excess, 0.8), 1.25))

    return each_epoch(run, size)


def confidence(run: Run, *, sure: float = 1.25, unsure: float = 0.8) -> list[float]:
    def size(end: int, steps: list[int], wish: float) -> float:
        entropy = run.mean("entropy", steps)
        return run.granted[end] * (sure if entropy < 0.3 else unsure if entropy > 0.7 else 1)

    return each_epoch(run, size)


def confidence_continuous(run: Run) -> list[float]:
    return each_epoch(run, lambda end, steps, wish: FIRST + (LARGEST - FIRST) * (1 - run.mean("entropy", steps)))


def gns_reversed(run: Run) -> list[float]:
    noise = run.noise()
    return each_step(run, lambda step: FIRST**2 / noise[step] if math.isfinite(noise[step]) else sys.float_info.min)


def sheet(run: Run) -> list[float]:
    def size(step: int) -> float:
        since = next(first for first in range(step + 1) if len(set(run.granted[first : step + 1])) == 1)
        ratio = run.average("microbatch_ratio", since=since)[step]
        return run.granted[step] * ratio / (3 - ratio) if ratio < 3 else math.inf

    return each_step(run, size)


def divebatch(run: Run) -> list[float]:
    def size(end: int, steps: list[int], wish: float) -> float:
        sizes = [run.rows[step]["batch_size"] for step in steps]
        sq_norms = [run.rows[step]["mean_sample_sq_norm"] for step in steps]
        total = sum(map(float.__mul__, map(float, sizes), sq_norms))
        return max(wish, 0.001 * sum(sizes) * total / run.rows[end]["epoch_grad_sq_norm"]) if wish < LARGEST else wish

    return each_epoch(run, size)


def oracle(run: Run) -> list[float]:
    bound = "diversity_bound"
    return each_epoch(run, lambda end, steps, wish: max(wish, 0.001 * run.rows[end][bound]) if wish < LARGEST else wish)


def signals(run: Run) -> Iterator[tuple[int, dict[str, float]]]:
    """DEBA's three after each epoch, and the granted size."""
    norm = level = math.nan
    for end, steps in run.ends():
        row, mean = run.rows[end], run.mean("loss", steps)
        found = {
            "variance": row["component_variance"],
            "norm": abs(row["grad_norm"] - norm) / (norm + 1e-8),
            "loss": abs(mean - level) / (abs(level) + 1e-8),
        }
        norm, level = row["grad_norm"], mean
        yield end, {name: value for name, value in found.items() if math.isfinite(value)}


def deba(run: Run, *, only: str = "", noise_grows: bool = False) -> list[float]:
    wishes, history = [float(FIRST)] * len(run.rows), {"variance": [], "norm": [], "loss": []}  # type: ignore[var-annotated]
    for end, found in signals(run):
        factor = 1.0
        if len(found) == 3 and all(history.values()):
            levels = {name: statistics.median(history[name][-14:]) for name in found}
            shares = {name: value / (value + levels[name]) for name, value in found.items()}
            if noise_grows:
                shares["variance"] = 1 - shares["variance"]
            score = 1 - (shares[only] if only else sum(shares.values()) / 3)
            factor = 1.5 if score > 0.55 else 0.8 if score < 0.45 else 1.0
        for name, value in found.items():
            history[name].append(value)
        wishes[end + 1 :] = [run.granted[end] * factor] * (len(run.rows) - end - 1)
    return wishes


def deba_flags(run: Run) -> list[float]:
    wishes = [float(FIRST)] * len(run.rows)
    variances, ratios, changes = list[float](), list[float](), list[float]()
    for end, found in signals(run):
        factor = 1.0
        variances.append(found["variance"])
        if len(found) == 3:
            ratio, change = found["variance"] / statistics.median(variances[-15:]), max(found["norm"], found["loss"])
            if ratios:
                quartile = statistics.quantiles(ratios, n=4, method="inclusive")[2] if len(ratios) > 1 else ratios[0]
                steady = [found[name] < statistics.median(changes) for name in ("norm", "loss")]
                if all(steady) and ratio <= quartile:
                    factor = 1.5
                elif not any(steady) or (ratio > quartile and not all(steady)):
                    factor = 0.8
            ratios, changes = [*ratios, ratio][-14:], [*changes, change][-14:]
        wishes[end + 1 :] = [run.granted[end] * factor] * (len(run.rows) - end - 1)
    return wishes


def until_the_largest(run: Run, size: Callable[[int], float]) -> list[float]:
    """A wish that only grows is not measured any more where the size cannot."""
    wishes = [float(FIRST)]
    for step, row in enumerate(run.rows[:-1]):
        wishes.append(size(step) if math.isfinite(row["grad_norm"]) else wishes[-1])
    return wishes


def norm_test(run: Run) -> list[float]:
    def size(step: int) -> float:
        row = run.rows[step]
        return max(run.granted[step], math.ceil(row["grad_variance"] / (0.25 * row["grad_norm"] ** 2)))

    return until_the_largest(run, size)


def inner_product_test(run: Run, *, theta: float = 0.5, nu: float = 1.0, half_life: float = N) -> list[float]:
    inner, variance = run.average("inner_product_variance", half_life), run.average("grad_variance", half_life)
    sq_norm = run.average("grad_norm", half_life, of=lambda norm: norm**2)

    def size(step: int) -> float:
        along = inner[step] / (theta**2 * sq_norm[step] ** 2)
        across = max(0.0, variance[step] - inner[step] / sq_norm[step]) / (nu**2 * sq_norm[step])
        return max(run.granted[step], math.ceil(along), math.ceil(across))

    return until_the_largest(run, size)


def cabs(run: Run) -> list[float]:
    variance, loss = run.average("grad_variance", 1728), run.average("loss", 1728)
    return each_step(run, lambda step: max(1.0, run.rows[step]["lr"] * variance[step] / loss[step]))


def simigrad(run: Run) -> list[float]:
    def size(step: int) -> float:
        now = run.granted[step]
        return max(now + 1, int(1.1 * now)) if run.rows[step]["halves_cosine"] < 0.1 else max(1, min(now - 1, int(0.9 * now)))

    return each_step(run, size)


def adadamp(run: Run) -> list[float]:
    average = run.average("loss")
    return each_step(run, lambda step: FIRST * run.rows[0]["loss"] / average[step])


def goodput(run: Run) -> list[float]:
    noise, times = run.noise(), dict[int, list[float]]()

    def size(end: int, steps: list[int], wish: float) -> float:
        for step in steps:
            spent = run.rows[step]["seconds_train"] - (run.rows[step - 1]["seconds_train"] if step else 0.0)
            times.setdefault(run.rows[step]["batch_size"], []).append(spent)
        known = [(rows, len(spent) - 1, statistics.fmean(spent[1:])) for rows, spent in times.items() if len(spent) > 1]
        weight = sum(count for _, count, _ in known)
        rows = sum(count * size for size, count, _ in known) / weight
        mean = sum(count * time for _, count, time in known) / weight
        spread = sum(count * (size - rows) ** 2 for size, count, _ in known)
        slope = max(0.0, sum(c * (s - rows) * (t - mean) for s, c, t in known) / spread) if spread else 0.0
        fixed = mean - slope * rows
        if fixed < 0:
            fixed, slope = 0.0, sum(c * s * t for s, c, t in known) / sum(c * s * s for s, c, _ in known)

        def worth(size: float) -> float:
            efficiency = 1.0 if math.isinf(noise[end]) else (noise[end] + FIRST) / (noise[end] + size)
            return efficiency * size / (fixed + slope * size)

        best = max((FIRST * (4096 / FIRST) ** (step / 49) for step in range(50)), key=worth)
        return best if worth(best) > 1.05 * worth(run.granted[end]) else run.granted[end]

    return each_epoch(run, size)


def memory(run: Run) -> list[float]:
    """Twice the size after three steps with memory to spare, but no more than the line through all peaks allows."""
    wishes, calm, peaks = [float(FIRST)], 0, list[tuple[int, Fraction]]()
    for step, row in enumerate(run.rows[:-1]):
        wish = float(run.granted[step]) if step else float(FIRST)
        if step:  # the optimiser allocates in the first one
            assert row["memory_used"] < 0.7
            peaks.append((run.granted[step], Fraction(row["memory_used"])))
            calm += 1
        if calm == 3:
            n, b, u = len(peaks), sum(size for size, _ in peaks), sum(peak for _, peak in peaks)
            spread = n * sum(size * size for size, _ in peaks) - b * b
            slope = (n * sum(size * peak for size, peak in peaks) - b * u) / spread if spread else Fraction(0)
            best = math.floor((Fraction(9, 10) - (u - slope * b) / n) / slope) if slope > 0 else math.inf
            calm, wish = 0, float(max(wish, min(best, 2 * wish)))
        wishes.append(wish)
    return wishes


WISHES: dict[str, Callable[[Run], list[float]]] = {
    "fixed_small": by_clock(lambda epoch, fraction: FIRST),
    "fixed_medium": by_clock(lambda epoch, fraction: MEDIUM),
    "fixed_large": by_clock(lambda epoch, fraction: LARGEST),
    "fixed_large_rescaled": by_clock(lambda epoch, fraction: LARGEST),
    "jump": by_clock(lambda epoch, fraction: FIRST if epoch < 1 else LARGEST),
    "jump_rescaled": by_clock(lambda epoch, fraction: FIRST if epoch < 1 else LARGEST),
    "doubling": by_clock(lambda epoch, fraction: FIRST * 2.0 ** math.floor(epoch)),
    "doubling_rescaled": by_clock(lambda epoch, fraction: FIRST * 2.0 ** math.floor(epoch)),
    "linear": by_clock(lambda epoch, fraction: FIRST + 32 * math.floor(epoch)),
    "exponential": by_clock(lambda epoch, fraction: FIRST * 1.15 ** math.floor(epoch)),
    "cyclical": by_clock(lambda epoch, fraction: FIRST + 32 * (math.floor(epoch) % 10)),
    "cyclical_exponential": by_clock(lambda epoch, fraction: FIRST * 1.25 ** (math.floor(epoch) % 10)),
    "adabatch": by_clock(lambda epoch, fraction: FIRST * 2.0 ** math.floor(5 * fraction + 1e-9)),
    "critical_warmup": by_clock(critical),
    "smith": by_clock(lambda epoch, fraction: FIRST / smith(epoch, fraction)),
    "seesaw": by_clock(lambda epoch, fraction: FIRST / cosine(fraction)),
    "plateau": plateau,
    "loss": loss,
    "loss_exponential": partial(loss, response=lambda change: math.exp(-5 * change)),
    "loss_average": partial(loss, newest=0.3),
    "loss_variance": loss_variance,
    "loss_variance_reversed": partial(loss_variance, sign=-1),
    "confidence": confidence,
    "confidence_reversed": partial(confidence, sure=0.8, unsure=1.25),
    "confidence_continuous": confidence_continuous,
    "gns": lambda run: each_step(run, lambda step: run.noise()[step]),
    "gns_reversed": gns_reversed,
    "gns_sheet": sheet,
    "divebatch": divebatch,
    "divebatch_rescaled": divebatch,
    "divebatch_oracle": oracle,
    "divebatch_oracle_rescaled": oracle,
    "deba": deba,
    "deba_variance": partial(deba, only="variance"),
    "deba_variance_reversed": partial(deba, only="variance", noise_grows=True),
    "deba_norm": partial(deba, only="norm"),
    "deba_equal": deba,
    "deba_loss": partial(deba, only="loss"),
    "deba_reversed": partial(deba, noise_grows=True),
    "deba_flags": deba_flags,
    "norm_test": norm_test,
    "inner_product_test": inner_product_test,
    "adadagrad": partial(inner_product_test, theta=0.1, nu=0.1, half_life=0),
    "cabs": cabs,
    "simigrad": simigrad,
    "adadamp": adadamp,
    "goodput": goodput,
    "memory": memory,
}
LIMITS = {  # smallest size, epochs between changes, largest factor of one change, multiple
    "gns": (2, 1, 2, 1), "gns_sheet": (4, 1, 2, 4), "deba": (16, 5, math.inf, 1), "deba_flags": (16, 5, math.inf, 1),
    "norm_test": (2, 0, 2, 1), "inner_product_test": (2, 0, 2, 1), "adadagrad": (2, 0, 2, 1), "cabs": (16, 0, math.inf, 1),
    "simigrad": (2, 0, math.inf, 1), "goodput": (2, 1, 2, 1),
}  # fmt: skip
LIMITS |= dict.fromkeys(
    ("deba_variance", "deba_variance_reversed", "deba_norm", "deba_loss", "deba_equal", "deba_reversed"), LIMITS["deba"]
)
LIMITS["gns_reversed"] = LIMITS["gns"]
SCHEDULES = {"adabatch": lambda e, t: 0.75 ** math.floor(5 * t + 1e-9), "smith": smith, "cabs": lambda e, t: 1.0}
POWERS = dict.fromkeys(("jump_rescaled", "doubling_rescaled", "divebatch_rescaled", "divebatch_oracle_rescaled", "smith"), 1.0)
POWERS |= dict.fromkeys(("critical_warmup", "seesaw", "simigrad"), 0.5)


def grants(run: Run, wishes: list[float], *, least: int, cooldown: int, cap: float, multiple: int) -> list[int]:
    sizes, changed = list[int](), 0
    for step, (wish, samples) in enumerate(zip(wishes, run.before, strict=True)):
        last = sizes[-1] if sizes else None
        if last is not None and samples < changed + cooldown * N:
            sizes.append(last)
            continue
        if last is not None and wish > last:
            wish = min(wish, max(math.floor(last * cap / multiple) * multiple if cap < math.inf else wish, last + multiple))
        sizes.append(math.floor(min(max(wish, least), LARGEST) / multiple + 0.5) * multiple)
        if sizes[-1] != last:
            border = samples // N * N
            changed = border if step and run.before[step - 1] < border else samples
    return sizes


def test_every_arm_for_the_batch_size_has_a_formula() -> None:
    arms = {file.stem for file in (conf() / "arm").glob("*.yaml")}
    assert {arm for arm in arms if not arm.startswith(("block", "zaremba"))} == set(WISHES)


def test_the_large_batch_gets_the_learning_rate_of_the_workload() -> None:
    with initialize_config_dir(str(conf()), version_base="1.3"):
        assert compose("config", ["arm=fixed_large_rescaled", "workload.large_lr=0.4"]).optimizer.lr == 0.4


@pytest.mark.slow
@pytest.mark.parametrize("arm", WISHES)
@pytest.mark.filterwarnings("ignore:scheduler.estimator=sheet")
def test_an_arm_is_what_its_source_says(arm: str, tmp_path: Path) -> None:
    chosen = [override for override in SMALL if arm not in NO_COSINE or not override.startswith("lr_schedule")]
    first = [] if arm.startswith(("fixed_large", "fixed_medium")) else [f"scheduler.initial={FIRST}"]
    trainer = experiment(composed(*chosen, *first, f"arm={arm}", f"results={tmp_path}"))
    trainer.run()
    rows = trainer.steps
    values = [row["value"] for row in trainer.evaluations if row["split"] == "validation"][1:]  # the first is of no training
    run = Run(rows, values, [0, *accumulate(row["batch_size"] for row in rows)][:-1])
    wishes = WISHES[arm](run)
    assert [row["batch_size_wished"] for row in rows] == pytest.approx(wishes, rel=1e-9)
    least, cooldown, cap, multiple = LIMITS.get(arm, (1, 0, math.inf, 1))
    assert run.granted == grants(run, wishes, least=least, cooldown=cooldown, cap=cap, multiple=multiple)
    schedule = SCHEDULES.get(arm, lambda epoch, fraction: cosine(fraction))
    for step, (row, samples) in enumerate(zip(rows, run.before, strict=True)):
        ratio = run.granted[step] / run.granted[0]
        factor = ratio ** POWERS.get(arm, 0.0)
        if arm == "goodput" and step:  # AdaScale
            phi = run.noise()[step - 1] / FIRST
            factor = ratio if math.isinf(phi) else (phi + 1) / (phi / ratio + 1)
        assert row["lr"] == pytest.approx(0.1 * factor * schedule(samples / N, samples / BUDGET), rel=1e-9)
