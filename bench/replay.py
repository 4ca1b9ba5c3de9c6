"""Whether a profile gives back the seconds of the machine that it was made on: profile, train, profile, train ... and compare.

Four small workloads: images, vectors, a recurrent text model, a transformer. Of each, three arms: a fixed size, one that grows
through sizes that lie between those of the profile, and the gradient noise scale, which measures. A round trains them, with a
profile before and after; `off` is the median over rounds of the geometric mean of both replays over the measured seconds (train +
measure) - 1, and 5 % are allowed. `drift` is the largest ratio of two profiles that follow each other, which nothing but the
machine decides. About ten minutes on two cores, and to be run alone:

    python bench/replay.py [--threads N] [--rounds N]
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adaptive_bench.analysis import Runs, read, read_profile, replay

ALLOWED = 0.05
# epochs are so many that an arm takes a second or more
WORKLOADS = {
    "image": ["dataset=digits", "model=cnn_small", "epochs=12"],
    "vector": ["dataset=synthetic_nonconvex", "model=mlp", "epochs=8"],
    "text": ["dataset=markov_text", "model=lstm_small", "epochs=6"],
    "transformer": ["dataset=markov_text", "model=gpt_mini", "model.width=64", "model.layers=2", "epochs=1"],
}
SIZES = "sizes=32,64,128,256"
# one evaluation at the end; sizes inside the profile, also of a rule that may choose any
RUNS = ["batch_size.minimum=32", "batch_size.maximum=256", "evaluate_every=1000", "scheduler.initial=32", "optimizer.lr=0.01"]
ARMS = "scheduler=fixed,linear,gns"


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "adaptive_bench", *words], check=True, stdout=subprocess.DEVNULL)


def compared(runs: Runs, before: Path, after: Path) -> dict[str, tuple[float, float]]:
    """By arm: the geometric mean of its replays under both profiles over its own seconds, and the later replay over the other."""
    first, second = read_profile(before), read_profile(after)
    found = {}
    for record in (row for arms in runs.arms.values() for rows in arms.values() for row in rows):
        then, later = (replay(runs, record, profile).total for profile in (first, second))
        found[record["label"]] = (math.sqrt(then * later) / record["seconds"], later / then)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=WORKLOADS)
    chosen = parser.parse_args()
    table = Table("workload", "arm", "off, median", "of each round", f"within {ALLOWED:.0%}", "drift")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for workload in [chosen.only] if chosen.only else WORKLOADS:
            task = [*WORKLOADS[workload], f"threads={chosen.threads}"]
            profiles = [folder / f"{workload}{at}.yaml" for at in range(chosen.rounds + 1)]
            command("profile", *task, SIZES, "-o", str(profiles[0]))
            rounds = []
            for at in range(chosen.rounds):
                results = folder / f"{workload}{at}"
                command("train", "-m", *task, *RUNS, ARMS, f"results={results}", "progress=false")
                command("profile", *task, SIZES, "-o", str(profiles[at + 1]))
                rounds.append(compared(read(results), profiles[at], profiles[at + 1]))
            for arm in rounds[0]:
                off = [each[arm][0] - 1 for each in rounds]
                drift = max((each[arm][1] for each in rounds), key=lambda ratio: abs(math.log(ratio))) - 1
                middle = statistics.median(off)
                table.add_row(
                    workload, arm, f"{middle:+.1%}", " ".join(f"{each:+.0%}" for each in sorted(off)),
                    "yes" if abs(middle) <= ALLOWED else "no", f"{drift:+.0%}",
                )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
