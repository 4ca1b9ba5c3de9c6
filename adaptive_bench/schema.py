"""The layout of a results folder and the columns of its tables, for what writes them (experiment) and reads them (analysis)."""

import json
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from adaptive_bench.files import is_alive, is_held

# Counts the ways in which identities were formed. Raise it whenever the same settings get another digest than before: runs of
# two forms in one folder would be trained twice and counted twice.
IDENTITY_FORM = 3
FORM_LINE = f"# identity form {IDENTITY_FORM}\n"  # the first line of a run's config.yaml

NOT_STARTED = "not started"
FINISHED = ("done", "diverged")  # the states of a run that has a record
GOING_ON = ("running", "queued")
HOST = socket.gethostname()
SILENT = 60  # seconds without a sign of life after which a run of another machine is given up

# The columns of a record. A table needs those of READ; the others may be missing from a record of an older version.
CHOICES = (
    "dataset",
    "model",
    "scheduler",
    "block_scheduler",
    "lr_rule",
    "batching",
    "arm",
)  # the options that were chosen, by their names
SLOTS = {"scheduler": "batch_size", "block_scheduler": "block_size"}  # the size that each drives
OUTCOME = ("status", "reason", "metric", "maximise", "best", "final", "samples", "steps")
SPLITTING = ("physical_batch", "split_steps")  # most rows that went through the model at once; steps in which that was not all
# all positions; their least share of padding; standard deviation over mean of the samples a step; the statistics measured
PADDING = ("padded_samples", "least_padding", "batch_variation", "statistics")
MEMORY = ("memory_used", "memory_changes", "memory_ran_out")  # peak as a share; changes of the limit; times it ran out
SPENT = ("seconds_train", "seconds_measure")
OTHER_SECONDS = ("seconds_evaluate", "seconds_store", "seconds_warmup")
TIMING = ("device", "threads", "jobs", "allocator")  # seconds can be compared where these are equal
RESOLUTION = ("validation_size", "test_size")  # samples that a metric is the mean over; an accuracy is a multiple of 100 / size
UNKNOWN_JOBS = 0  # in place of the number of runs that ran beside each other
SOURCE = ("commit", "dirty")
MADE_WITH = (*SOURCE, "sources", *TIMING, "ranks", "precision", "python", "torch", "adaptive_bench")
# what places a run before it has an outcome: left by a run in about.json when it starts
PLACED = ("cell", *CHOICES, "seed", "metric", "maximise", "settings")
READ = ("cell", *CHOICES, "seed", *OUTCOME, *SPLITTING, *PADDING, *MEMORY, *SPENT, *TIMING, *SOURCE, "timed_under", "settings")
# granted sizes of the first step, and the samples before the first step that had others (inf: none had)
FIRST = ("first_batch_size", "first_block_size", "first_change")
RECORD = (
    *("run", *READ, *RESOLUTION, *OTHER_SECONDS, *(name for name in MADE_WITH if name not in READ)),
    "calibration_samples",  # trained by the run of the calibration; 0 without one, nan if its file does not say
    "tuning",  # how the learning rate was chosen: "5 rates x 2 seeds"; "" where it was not
    "tuning_samples",  # trained to choose it
    "skipped_steps",  # updates left out because a gradient overflowed in half precision
    *FIRST,
    "trajectory",  # a digest of the sizes and learning rates, step by step
    *("compiled_graphs", "estimator", "parameters", "weights", "started"),
)
# the columns of a record that are text: "" where nothing is known, as other columns are nan
TEXTS = (
    *("run", "cell", *CHOICES, "status", "reason", "metric", "statistics", "device", "allocator", "commit", "sources"),
    *(
        "timed_under",
        "precision",
        "python",
        "torch",
        "adaptive_bench",
        "estimator",
        "weights",
        "started",
        "trajectory",
        "tuning",
        "settings",
    ),
)

# The columns of a trace: a row a step. The measured statistics and the schedulers' signals follow them.
POSITION = ("step", "samples", "epoch", *SPENT, "seconds_evaluate")  # of the run, after the step
SIZES = ("batch_size", "batch_size_wished", "physical_batch", "block_size", "batch_size_granted", "block_size_granted")
TRACE = (
    *(*POSITION, "lr", "loss", *SIZES),
    *("padded_samples", "cut"),  # positions with their padding; whether less was left than had been asked for
    "state_reset",  # whether the columns of a text were laid out anew, so that the step started without a carried state
    "skipped",  # whether the weights stayed as they were because a gradient overflowed in half precision
)
EVALUATIONS = (*POSITION, "split", "value", "loss")

# what is kept of a compacted run's steps, at the end of each piece of equal ones
SIZED = ("batch_size", "batch_size_granted", "block_size", "block_size_granted")
PIECES = ("step", "samples", *SPENT, *SIZED)
MEASURED = "measured_steps"  # so far: steps with a statistic; kept beside PIECES, but not by older versions
RATES = " rates x "  # of the column tuning, between two counts
LOSS_VARIANCE = "loss_variance"  # of a piece, see `compact.loss_variance`; likewise
WEIGHTS = "weights.pt"  # the state_dict of the trained model, in the folder of a run with keep_weights=true

PACKAGE = __name__.partition(".")[0]


def stable_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with every `_target_` of this package cut to its last part: moving a class changes no identity.

    An object of another package keeps the whole path that it is imported by; its last part alone could stand for anything.
    """
    return {key: _stable(key, value) for key, value in settings.items()}


def _stable(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return stable_names(value)
    if key == "_target_" and str(value).startswith(f"{PACKAGE}."):
        return str(value).rpartition(".")[2]
    return value


def check_form(results: Path) -> None:
    """Raises ValueError if a run in `results` has an identity of another form than this version's."""
    others = [part.name for part in (results / "compact").glob("[0-9]*") if not part.name.startswith(f"{IDENTITY_FORM}-")]
    for config in (results / "runs").glob("*/config.yaml"):
        with suppress(FileNotFoundError), config.open() as file:  # compacted a moment ago
            if file.readline() != FORM_LINE:
                others.append(config.parent.name)
    if others:
        raise ValueError(
            f"{results}: run {others[0]} was made by another version of adaptive-bench, and this one would not "
            f"recognise it (identity form {IDENTITY_FORM} is expected); make the runs anew in another results folder"
        )


def noted(run: Path) -> dict[str, Any]:
    """The state that the process of an unfinished run stored last in this folder, even if it is gone: at least status, reason."""
    try:
        return {"status": "interrupted", "reason": "", **json.loads((run / "state.json").read_text())}
    except FileNotFoundError:
        return {"status": NOT_STARTED, "reason": ""}
    except (ValueError, TypeError):
        return {"status": "interrupted", "reason": "its state.json is damaged"}


def last_beat(run: Path) -> float:
    """When a run's process gave its last sign of life, by the clock of the file system; 0 if never."""
    try:
        return (run / "state.json").stat().st_mtime
    except FileNotFoundError:
        return 0


def unfinished_state(run: Path) -> dict[str, Any]:
    """The same, corrected where it says "running" and no process holds the folder, or "queued" by a process that is gone."""
    state = noted(run)
    if state["status"] == "running":
        host, silent = state.get("host", HOST), time.time() - last_beat(run) > SILENT
        if not is_held(run / ".lock"):
            if host == HOST or silent:  # else it is trained on a machine whose locks are not seen here
                state |= {"status": "interrupted", "reason": "its process is gone"}
        elif silent:
            state |= {"reason": f"no sign of life from {host} for {SILENT} s; if it is gone, delete {run / '.lock'}"}
    process = state.get("pid")
    if state["status"] == "queued" and process and state.get("host") == HOST and not is_alive(process):
        state |= {"status": "interrupted" if "samples" in state else NOT_STARTED, "reason": "the process of its sweep is gone"}
    return state


def distinct(names: Mapping[str, str], *, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Names by digest, where those that were equal have the settings that differ appended: "fixed (scheduler.initial=32)".

    Of options of other classes only the class is named, "(order=Curriculum)", unless their settings differ in one class, too.
    """
    alike: dict[str, list[str]] = {}
    for digest, name in names.items():
        alike.setdefault(name, []).append(digest)
    longer = {}
    for name, digests in alike.items():
        keys = sorted({key for digest in digests for key in settings[digest]} if len(digests) > 1 else ())
        telling = [key for key in keys if _tells(key, among=[settings[digest] for digest in digests])]
        for digest in digests:
            parts = [f"{key.removesuffix('._target_')}={settings[digest][key]}" for key in telling if key in settings[digest]]
            longer[digest] = f"{name} ({', '.join(parts)})" if parts else name
    count = Counter(longer.values())
    # no setting tells them apart (or only 1 from "1"): the digest does
    return {digest: longer[digest] if count[longer[digest]] == 1 else f"{longer[digest]} #{digest[:8]}" for digest in names}


def _tells(key: str, *, among: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a setting differs among runs whose option has the same class."""
    kind = f"{key.partition('.')[0]}._target_"
    values: dict[str, set[str]] = {}
    for settings in among:
        values.setdefault(_canonical(settings, key=kind) if key != kind else "", set()).add(_canonical(settings, key=key))
    return any(len(found) > 1 for found in values.values())


def _canonical(settings: Mapping[str, Any], *, key: str) -> str:
    return json.dumps([settings[key]] if key in settings else [], sort_keys=True)
