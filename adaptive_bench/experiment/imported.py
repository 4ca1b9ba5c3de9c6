"""Logs of other programs as finished runs, which tables judge like our own."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaptive_bench import compact
from adaptive_bench.experiment.record import Identity
from adaptive_bench.loggers.base import Row
from adaptive_bench.schema import (
    EVALUATIONS,
    FORM_LINE,
    LOSS_VARIANCE,
    MEASURED,
    PIECES,
    READ,
    RESOLUTION,
    TEXTS,
    UNKNOWN_JOBS,
    check_form,
)  # fmt: skip

NEEDED = ("arm", "seed", "samples", "metric", "value", "size")
DEFAULTS: dict[str, Any] = {"dataset": "imported", "model": "imported", "split": "validation", "seconds": math.nan}
NUMBERS = ("seed", "samples", "value", "seconds", "size")
MAXIMISE = {"accuracy": True, "perplexity": False}
CHART, SEEDED = re.compile(r"(.+) - (.+)"), re.compile(r"(.*?)[\s_-]*seed[\s_=-]*(\d+)", re.IGNORECASE)


def import_logs(file: Path, results: Path, *, columns: Mapping[str, str], constants: Mapping[str, str]) -> tuple[int, int]:
    """Add the runs of a CSV file to a results folder; returns how many were added, and how many were there before.

    A row is an evaluation of a run: `arm`, `seed`, `samples` so far, `metric` (accuracy in %, or perplexity), its `value` (inf if
    it has diverged) and the batch `size` since the row before; where known, `seconds` so far, `split` (validation or test),
    `dataset` and `model`. A row without a value only tells the size. `columns` names those of the file that have another name,
    `constants` gives values that the file lacks. A chart that W&B has exported, a column "RUN - METRIC" a run, is read as it is,
    with its first column as samples.

    Without rows of the test split, the last validation value stands for it. Raises ValueError for other files.
    """
    rows = _checked(_read(file, columns, constants), file)
    check_form(results)
    known, found = set(compact.runs(results)), 0
    tables: dict[str, dict[str, Any]] = {"record": {}, "evaluations": {}, "sizes": {}}
    for _, of in rows.groupby(["dataset", "model", "arm", "seed"]):
        about = {name: of[name].iloc[0] for name in ("dataset", "model", "arm")}
        # arms may differ in more than their sizes, so that one is different from another from the first sample on
        identity = Identity.of({"imported": True, **about, "optimizer.of": about["arm"], "seed": int(of["seed"].iloc[0])})
        found += 1
        if identity.run in known:
            continue
        sizes = _sizes(of)
        tables["sizes"][identity.run] = compact.packed(sizes)
        tables["evaluations"][identity.run] = compact.packed(_evaluations(of, sizes))
        tables["record"][identity.run] = compact.packed(pd.DataFrame([_record(of, sizes, identity)]))
    if tables["record"]:
        compact.add(results, tables)
    return len(tables["record"]), found - len(tables["record"])


def _read(file: Path, columns: Mapping[str, str], constants: Mapping[str, str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as CSV ({error})") from error
    if any(f"{name}__MIN" in rows for name in rows):
        rows = _melted(rows)
    if missing := [name for name in columns.values() if name not in rows]:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has {', '.join(map(str, rows))}")
    rows = rows.assign(**{ours: rows[theirs] for ours, theirs in columns.items()}, **constants)
    if missing := [name for name in NEEDED if name not in rows]:
        raise ValueError(
            f"{file} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, rows))}. Name a column by "
            f"--column {missing[0]}=NAME, or give its only value by --constant {missing[0]}=VALUE"
        )
    for name, value in DEFAULTS.items():
        if name not in rows:
            rows[name] = value
    return rows


def _melted(chart: pd.DataFrame) -> pd.DataFrame:
    """A row for each value of W&B's chart."""
    parts = []
    for name in (str(name) for name in chart if f"{name}__MIN" in chart):
        if not (split := CHART.fullmatch(str(name))):
            raise ValueError(f"column {name!r}: W&B names a chart's columns RUN - METRIC")
        run, metric = split.groups()
        seeded = SEEDED.fullmatch(run)
        arm, seed = seeded.groups() if seeded else (run, 0)
        values = {"samples": chart.iloc[:, 0], "value": chart[name]}
        parts.append(pd.DataFrame({"arm": arm, "seed": int(seed), "metric": metric, **values}))
    return pd.concat(parts).dropna(subset="value")


def _checked(rows: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The rows in the order of their samples, with numbers where numbers are expected."""
    for name in NUMBERS:
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if len(words := rows[name][numbers.isna() & rows[name].notna()]):
            raise ValueError(f"{file}, line {words.index[0] + 2}: {name}={words.iloc[0]!r} is no number")
        rows = rows.assign(**{name: numbers})
    for name, least in (("seed", 0), ("samples", 0), ("size", 1)):
        if len(bad := rows[rows[name].isna() | (rows[name] < least) | (rows[name] % 1 != 0)]):
            raise ValueError(
                f"{file}, line {bad.index[0] + 2}: {name}={bad[name].iloc[0]}: a whole number from {least} up is expected"
            )
    values = rows.dropna(subset="value")
    for name, allowed in (("metric", MAXIMISE), ("split", ("validation", "test"))):
        if unknown := sorted(set(values[name]) - set(allowed)):
            raise ValueError(f"{file}: {name}={unknown[0]}: {' or '.join(allowed)} is expected; --constant {name}=... sets it")
    accuracies = values.loc[values["metric"] == "accuracy", "value"]
    if len(accuracies) and accuracies.max() <= 1:
        raise ValueError(f"{file}: no accuracy is above 1; accuracies are expected in %, so multiply them by 100")
    if len(twice := values[values.duplicated(["dataset", "model", "arm", "seed", "split", "samples"])]):
        raise ValueError(f"{file}, line {twice.index[0] + 2}: a second value at the same samples of the same arm, seed and split")
    return rows.sort_values("samples", kind="stable")


def _sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """The pieces of the run between its rows: see `compact`. Updates are samples over sizes."""
    ends = rows[rows["samples"] > 0].drop_duplicates("samples", keep="last")
    size = ends["size"]
    updates = (ends["samples"].diff().fillna(ends["samples"]) / size).cumsum()
    known = {"samples": ends["samples"], "step": updates.round(), "seconds_train": ends["seconds"], "seconds_measure": 0.0}
    known |= dict.fromkeys(("batch_size", "batch_size_granted"), size) | dict.fromkeys(("block_size", "block_size_granted"), 1)
    return pd.DataFrame(known)[list(PIECES)].assign(**{MEASURED: 0, LOSS_VARIANCE: math.nan})


def _evaluations(rows: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    values = rows.dropna(subset="value")
    steps = np.interp(values["samples"], [0, *sizes["samples"]], [0, *sizes["step"]])
    values = values.assign(step=steps, epoch=math.nan, loss=math.nan)
    return values.assign(seconds_train=values["seconds"], seconds_measure=0.0, seconds_evaluate=0.0)[list(EVALUATIONS)]


def _record(rows: pd.DataFrame, sizes: pd.DataFrame, identity: Identity) -> Row:
    values = rows.dropna(subset="value")
    validation, test = (values.loc[values["split"] == split, "value"] for split in ("validation", "test"))
    first, last, best = values.iloc[0], rows.iloc[-1], max if MAXIMISE[values["metric"].iloc[0]] else min
    final = float((test if len(test) else validation).iloc[-1])
    known: dict[str, Any] = {
        "run": identity.run, "cell": identity.cell, "settings": json.dumps(identity.settings),
        "config": f"{FORM_LINE}# {first['dataset']} {first['model']} {first['arm']} seed={first['seed']:.0f}, imported\n",
        **{name: first[name] for name in ("dataset", "model", "arm", "metric")}, "seed": int(first["seed"]),
        "scheduler": "imported", "block_scheduler": "fixed", "lr_rule": "none",
        "status": "done" if math.isfinite(final) else "diverged", "maximise": MAXIMISE[first["metric"]],
        "best": float(best(validation)) if len(validation) else final, "final": final, "samples": int(last["samples"]),
        "steps": sizes["step"].iloc[-1], "seconds_train": last["seconds"], "seconds_measure": 0.0, "dirty": False,
        "physical_batch": sizes["batch_size"].max(), "padded_samples": int(last["samples"]), "split_steps": 0,
        "device": "unknown", "allocator": "unknown", "threads": 0, "jobs": UNKNOWN_JOBS, "timed_under": "imported",
    }  # fmt: skip
    return {name: "" if name in TEXTS else math.nan for name in (*READ, *RESOLUTION, *TEXTS)} | known
