"""What reading a results folder costs: seconds and peak memory of `adaptive-bench tables` and `report`, plain and compacted.

The folders are synthetic: 20 arms x 5 seeds on 10 workloads (or as many as give RUNS), each run of 200 steps, 12 evaluations.
`python bench/reading.py [RUNS] [--no-report]`; RUNS is 1000 by default. On Linux.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from adaptive_bench import compact
from adaptive_bench.analysis import read
from adaptive_bench.schema import EVALUATIONS, FORM_LINE, RECORD, TEXTS, TRACE

ARMS, SEEDS, STEPS, POINTS = 20, 5, 200, 12
RUN = "import sys; from adaptive_bench.__main__ import main; main(sys.argv[1:]); "
# ru_maxrss would start at that of this process
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"


def make(results: Path, runs: int) -> None:
    """A thousand different traces and curves are enough, so that it takes seconds."""
    texts = dict.fromkeys(TEXTS, "x")
    base = dict.fromkeys(RECORD, 1.0) | texts | {"status": "done", "reason": "", "maximise": True, "dirty": False, "batching": ""}
    base |= {"block_scheduler": "fixed", "lr_rule": "none", "dataset": "digits", "model": "mlp", "metric": "accuracy"}
    base |= {"threads": 1, "jobs": 1, "samples": 12_800, "steps": STEPS, "split_steps": 0, "timed_under": ""}
    traces = [_trace(kind) for kind in range(min(runs, 1_000))]
    made = [(_parquet(trace), _parquet(_curve(kind))) for kind, trace in enumerate(traces)]
    firsts = [_first(trace) for trace in traces]
    workloads = range(runs // (ARMS * SEEDS))
    for at, (workload, arm, seed) in enumerate(itertools.product(workloads, range(ARMS), range(SEEDS))):
        name = "fixed_small" if arm == 0 else f"arm{arm}"
        # a hundred settings, as a run has
        settings = {f"setting.{key}": key for key in range(100)} | {"epochs": workload, "arm": name, "seed": seed}
        row = base | {"arm": name, "scheduler": "fixed" if arm == 0 else "gns", "seed": seed, "cell": f"{workload:06}-{arm:03}"}
        row |= firsts[at % len(made)]
        row |= {"run": f"{at:016x}", "settings": json.dumps(settings), "best": 90 + arm / 10, "final": 89 + seed / 10}
        folder = results / "runs" / f"{at:016x}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"{FORM_LINE}# run {at}\n" + "\n".join(f"{k}: {v}" for k, v in settings.items()))
        (folder / "record.parquet").write_bytes(_parquet(pd.DataFrame([row]), store_schema=False))
        for file, content in zip(("trace", "evaluations"), made[at % len(made)], strict=True):
            (folder / f"{file}.parquet").write_bytes(content)


def _parquet(frame: pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, **options)
    return buffer.getvalue()


def _trace(kind: int) -> pd.DataFrame:
    """The size changes 0 to 20 times, at random."""
    rng = np.random.default_rng(kind)
    sizes = rng.integers(8, 512, STEPS)[np.isin(np.arange(STEPS), rng.integers(STEPS, size=kind % 21)).cumsum()]
    trace = pd.DataFrame(rng.random((STEPS, len(TRACE))).cumsum(axis=0), columns=list(TRACE))
    return trace.assign(
        step=range(1, STEPS + 1), samples=sizes.cumsum(), batch_size=sizes, batch_size_granted=sizes, block_size=1,
        block_size_granted=1,
    )  # fmt: skip


def _first(trace: pd.DataFrame) -> dict[str, float]:
    """What a run's record says of its first sizes."""
    size = trace["batch_size"][0]
    others = trace.index[trace["batch_size"] != size]
    change = trace["samples"][others[0] - 1] if len(others) else np.inf
    return {"first_batch_size": size, "first_block_size": 1, "first_change": change}


def _curve(kind: int) -> pd.DataFrame:
    at = np.sort(np.random.default_rng(kind).random(POINTS))
    at[0] = 0
    curve = pd.DataFrame(dict.fromkeys(EVALUATIONS, at)).assign(value=10 + 80 * at, split="validation")
    return pd.concat([curve, curve.tail(1).assign(split="test")], ignore_index=True)


def command(*arguments: str) -> str:
    """Seconds and peak memory of a command of its own process."""
    start = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", RUN + PEAK, *arguments], capture_output=True, text=True, check=True)
    return f"{time.perf_counter() - start:.2f} s, {int(ran.stderr.split()[-1]) / 1024:,.0f} MiB"


def reading(results: Path) -> str:
    """Seconds to read all records, then all curves, in a process that has imported everything."""
    start = time.perf_counter()
    runs = read(results)
    records = time.perf_counter() - start
    runs.validation(runs.records["run"].iloc[0])
    return f"{records:.2f} + {time.perf_counter() - start - records:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=1_000)
    parser.add_argument("--no-report", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        make(results, chosen.runs)
        jobs: dict[str, Callable[[], str]] = {
            "read(), all curves": lambda: reading(results),
            "tables": lambda: command("tables", str(results)),
            "status": lambda: command("status", str(results)),
        }
        if not chosen.no_report:
            jobs["report"] = lambda: command("report", str(results), "-o", f"{folder}/report.html")
        plain = {name: job() for name, job in jobs.items()}
        start = time.perf_counter()
        compact.fold(results)
        took, size = time.perf_counter() - start, sum(file.stat().st_size for file in results.rglob("*.parquet"))
        table = Table("of " + f"{chosen.runs:,} runs", "plain", f"compacted ({took:.1f} s, {size / 2**20:.2f} MiB)")
        for name, job in jobs.items():
            table.add_row(name, plain[name], job())
        Console().print(table)


if __name__ == "__main__":
    main()
