"""Whether a step takes in a run what it takes in a profile of the same machine.

Four small workloads: images, vectors, a recurrent text model, a transformer. Of each, three arms: a fixed size, one that grows,
and the gradient noise scale, which measures. Shared machines change their speed by tens of percent within minutes, so that a
profile made before a run says nothing here. Therefore both are done in turn: after every tenth of a second of a run's own steps,
as many steps of the same sizes are visited as a profile visits them, and their seconds are added up beside the run's (train +
measure). `off` is the ratio of the two sums - 1; 5 % are allowed. What a profile does beyond that, medians and interpolation, is
exact or tested. A few minutes on two cores, to be run alone:

    python bench/replay.py [--threads N] [--only image|vector|text|transformer]
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.build import build, plan
from adaptive_bench.experiment.profile import HELD, STATISTICS, Steps
from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.sizes import BatchShape
from adaptive_bench.training.trainer import Trainer

ALLOWED = 0.05
TURN = 0.1  # seconds of a run's own steps between two comparisons
WORKLOADS = {
    "image": ["dataset=digits", "model=cnn_small", "epochs=12"],
    "vector": ["dataset=synthetic_nonconvex", "model=mlp", "epochs=8"],
    "text": ["dataset=markov_text", "model=lstm_small", "epochs=8"],
    "transformer": ["dataset=markov_text", "model=gpt_mini", "model.width=64", "model.layers=2", "epochs=2"],
}
RUN = ["batch_size.minimum=32", "batch_size.maximum=256", "evaluate_every=1000", "scheduler.initial=32", "optimizer.lr=0.01"]
ARMS = {"fixed": [], "linear": ["scheduler=linear"], "gns": ["scheduler=gns"]}


class Beside(Logger):
    """Visits the same steps in another trainer while a run waits; the run's clocks stand meanwhile."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.waiting: list[tuple[BatchShape, bool, float]] = []
        self.own = self.visited = self.last = 0.0

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        pass

    def step(self, row: Row) -> None:
        spent = row["seconds_train"] + row["seconds_measure"]
        measured = any(row.get(str(name)) is not None for name in STATISTICS)
        if not row["cut"]:
            self.waiting.append((BatchShape(row["batch_size"], row["block_size"]), measured, spent - self.last))
        self.last = spent
        if sum(seconds for *_, seconds in self.waiting) > TURN:
            self.compare()

    def compare(self) -> None:
        self.own += sum(seconds for *_, seconds in self.waiting)
        for (shape, measured), count in Counter((shape, measured) for shape, measured, _ in self.waiting).items():
            self.visited += count * self.steps.visit(shape, count, measuring=measured)
        self.waiting.clear()

    def evaluation(self, row: Row) -> None:
        pass

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


def trainer(overrides: Sequence[str]) -> Trainer:
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return build(cfg, plan(cfg, cast(DictConfig, HydraConfig.get())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=WORKLOADS)
    chosen = parser.parse_args()
    table = Table("workload", "arm", "steps", "seconds in the run", "in visits", "off", f"within {ALLOWED:.0%}")
    for name in [chosen.only] if chosen.only else WORKLOADS:
        task = [*WORKLOADS[name], f"threads={chosen.threads}", "progress=false"]
        for arm, words in ARMS.items():
            run = trainer([*task, *RUN, *words])
            beside = Beside(Steps(trainer=trainer([*task, *HELD])))
            run.loggers = (beside,)
            with tempfile.TemporaryDirectory() as folder:
                run.checkpoint = Path(folder) / "checkpoint.pt"
                run.run()
            off = beside.visited / beside.own - 1
            table.add_row(
                name, arm, f"{len(run.steps):,}", f"{beside.own:.2f}", f"{beside.visited:.2f}", f"{off:+.1%}",
                "yes" if abs(off) <= ALLOWED else "no",
            )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
