"""Batches by length on lines of Penn Treebank: real tokens a second, and what grouping by length does to the noise scale.

`python bench/lengths.py DATA [FIGURE.png]` wants DATA/ptb. Tokens a second: a few steps of each policy in turn (A B C A B C ...),
one thread, medians over the rounds of tokens over seconds, as ratios to `padded`. Noise scale: B_simple = tr(Sigma) / |G|^2 of
one model's weights, from batches of 32 rows by each policy, on the same weights, with the interval of the ratio. Run it alone.
"""

import statistics
import sys
import tempfile
import time

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from adaptive_bench.__main__ import conf
from adaptive_bench.estimators import MicroBatch
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.training.trainer import Trainer

POLICIES = {"fixed": 32, "padded": 32, "dynamic": 32, "bucketed": 32, "tokens": 32, "packed": 6}  # rows; packed ones of 128
MODELS = ("gpt_mini", "lstm_200")
ROUNDS, STEPS, MEASURED = 9, 2, 150  # rounds, steps a policy and round, batches of the noise scale
RESULTS = tempfile.mkdtemp()
NEEDS = frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM})


def trainer(data: str, model: str, batching: str, *, rows: int) -> Trainer:
    overrides = [
        "dataset=ptb_lines", f"dataset.root={data}", f"model={model}", "model.dropout=0", f"batching={batching}",
        f"scheduler.initial={rows}", "optimizer=adamw", "threads=1", "progress=false", f"results={RESULTS}", "epochs=1",
    ]  # fmt: skip
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return experiment(cfg)


def rates(data: str, model: str) -> dict[str, list[float]]:
    """Real tokens a second of every policy, round by round."""
    runs = {
        name: trainer(data, model, name, rows=rows) for name, rows in POLICIES.items() if (model, name) != ("lstm_200", "packed")
    }
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 1):
        for name, run in runs.items():
            before, start = run.samples, time.perf_counter()
            for _ in range(STEPS):
                run.step()
            if turn:  # the first round allocates
                found[name].append((run.samples - before) / (time.perf_counter() - start))
    return found


def noise(data: str) -> dict[str, tuple[float, float]]:
    """B_simple and its standard error by policy, on the weights of one lstm_200 after 200 steps."""
    learned = trainer(data, "lstm_200", "padded", rows=32)
    for _ in range(200):
        learned.step()
    found = {}
    for name in ("padded", "tokens", "bucketed", "dynamic"):
        stream = trainer(data, "lstm_200", name, rows=32).task.train
        moments = []
        for _ in range(MEASURED):
            batch = stream.take(BatchShape(32))
            seen = MicroBatch(chunks=4).backward(learned.task.loss, learned.model, batch, NEEDS)
            moments.append((seen.stats[Stat.GRAD_VARIANCE], seen.stats[Stat.GRAD_SQ_NORM]))
        variance, sq_norm = (statistics.fmean(part) for part in zip(*moments, strict=True))
        ratio = variance / sq_norm
        spread = statistics.stdev(v - ratio * s for v, s in moments) / sq_norm
        found[name] = ratio, spread / MEASURED**0.5
    return found


def draw(found: dict[str, tuple[float, float]]) -> Figure:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    names = list(found)
    axes.barh(names, [found[name][0] for name in names], xerr=[1.96 * found[name][1] for name in names], color="tab:blue")
    axes.invert_yaxis()
    axes.set(xlabel="noise scale in sentences (95 % interval)", title="One model, the same weights, 32 sentences a batch")
    return figure


def main(data: str, path: str = "") -> None:
    torch.set_num_threads(1)
    console = Console(width=110)
    for model in MODELS:
        table = Table("batching", "real tokens a second", "to padded", "lowest", "highest", title=model, title_justify="left")
        found = rates(data, model)
        for name, values in found.items():
            ratios = [one / other for one, other in zip(values, found["padded"], strict=True)]
            cells = (statistics.median(ratios), min(ratios), max(ratios))
            table.add_row(name, f"{statistics.median(values):,.0f}", *(f"{cell:.2f}" for cell in cells))
        console.print(table)
    scales = noise(data)
    table = Table("batching", "noise scale", "standard error", title="B_simple on PTB lines, lstm_200", title_justify="left")
    for name, (value, error) in scales.items():
        table.add_row(name, f"{value:,.0f}", f"{error:,.0f}")
    console.print(table)
    if path:
        draw(scales).savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
