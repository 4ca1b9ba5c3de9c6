"""Whether a profile gives back the seconds of the machine that it was made on: profile, train, replay, compare.

Four small workloads: images, vectors, a recurrent text model, a transformer. Of each, three arms in turn in one process: a fixed
size, one that grows through sizes that lie between those of the profile, and the gradient noise scale, which measures. `off` is
replayed over measured seconds (train + measure) - 1; 5 % are allowed. A profile is made before the runs and one after them:
`drift` is how far the replays of the two lie apart, which nothing but the machine decides. About 5 minutes on two cores, and to
be run alone:

    python bench/replay.py [--threads N]
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adaptive_bench.analysis import Runs, read, read_profile, replay

ALLOWED = 0.05
# epochs are so many that an arm takes several seconds
WORKLOADS = {
    "image": ["dataset=digits", "model=cnn_small", "epochs=20"],
    "vector": ["dataset=synthetic_nonconvex", "model=mlp", "epochs=30"],
    "text": ["dataset=markov_text", "model=lstm_small", "epochs=20"],
    "transformer": ["dataset=markov_text", "model=gpt_mini", "model.width=64", "model.layers=2", "epochs=3"],
}
SIZES = "sizes=16,32,64,128,256"
# one evaluation at the end; sizes inside the profile, also of a rule that may choose any
RUNS = ["batch_size.minimum=16", "batch_size.maximum=256", "evaluate_every=1000", "scheduler.initial=32", "optimizer.lr=0.01"]
ARMS = "scheduler=fixed,linear,gns"


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "adaptive_bench", *words], check=True, stdout=subprocess.DEVNULL)


def compared(runs: Runs, before: Path, after: Path) -> list[tuple[str, int, float, float, float]]:
    """Of each arm: its name, steps, own seconds, replayed over own seconds - 1, the later profile's replay over that - 1."""
    first, second = read_profile(before), read_profile(after)
    found = []
    for record in (row for arms in runs.arms.values() for rows in arms.values() for row in rows):
        then, later = (replay(runs, record, profile).total for profile in (first, second))
        found.append((record["label"], int(record["steps"]), record["seconds"], then / record["seconds"] - 1, later / then - 1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=WORKLOADS)
    chosen = parser.parse_args()
    table = Table("workload", "arm", "steps", "measured s", "replayed, off", f"within {ALLOWED:.0%}", "drift")
    with tempfile.TemporaryDirectory() as folder:
        for name in [chosen.only] if chosen.only else WORKLOADS:
            task, profiles = [*WORKLOADS[name], f"threads={chosen.threads}"], [Path(folder) / f"{name}{at}.yaml" for at in (0, 1)]
            results = Path(folder) / name
            command("profile", *task, SIZES, "-o", str(profiles[0]))
            command("train", "-m", *task, *RUNS, ARMS, f"results={results}", "progress=false")
            command("profile", *task, SIZES, "-o", str(profiles[1]))
            for arm, steps, seconds, off, drift in compared(read(results), *profiles):
                table.add_row(
                    name,
                    arm,
                    f"{steps:,}",
                    f"{seconds:.2f}",
                    f"{off:+.1%}",
                    "yes" if abs(off) <= ALLOWED else "no",
                    f"{drift:+.1%}",
                )
    Console().print(table)


if __name__ == "__main__":
    main()
