"""One run from its configuration to its record."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.execution import compilation, interruption, ranks
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.experiment.build import RunSpec, build, plan
from adaptive_bench.experiment.recorded import calibration_samples
from adaptive_bench.files import replacing
from adaptive_bench.loggers.base import Row
from adaptive_bench.schema import FIRST, WEIGHTS, check_form
from adaptive_bench.stats import Stat
from adaptive_bench.streams import waste
from adaptive_bench.training.checkpoint import weights_digest
from adaptive_bench.training.trainer import Diverged, Trainer


def message(error: Exception) -> str:
    """An error as one line."""
    return "adaptive-bench: error: " + " ".join(str(error).split())


def train_or_say(cfg: DictConfig) -> float | None:
    """`train`, with user errors printed as one line. In a sweep the exception is kept: Hydra stores it and continues."""
    try:
        return train(cfg)
    except (ValueError, OSError, HydraException) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        # Hydra adds a line of its own before an exception, but not before an exit
        raise SystemExit(message(error)) from error


def train(cfg: DictConfig) -> float | None:
    """Train one run, unless it is finished or another process trains it. Returns its best validation metric, for sweepers.

    Raises Interrupted after a signal; this process begins no other run then.
    """
    with interruption.handled_by(interruption.note):
        if signal := interruption.received():
            raise interruption.Interrupted.by(signal)
        return _train(cfg)


def _train(cfg: DictConfig) -> float | None:
    planned = plan(cfg, cast(DictConfig, HydraConfig.get()))
    check_form(planned.results)
    among = ranks.join(torch.device(planned.machine.device))
    if len(set(among.gather(planned.identity.run))) > 1:
        raise ValueError("the processes of this run have different settings, data or devices; start them all in the same way")
    # all ranks follow what the first rank finds in the folder; only that rank writes
    if among.from_first(planned.folder.finished):
        return _say(planned, "was finished before; nothing to train", among)
    trainer = build(cfg, planned, among=among)
    before, about = compilation.graphs(), _about(planned, trainer)
    with planned.folder.claimed(planned.config, about) if among.is_first else nullcontext(True) as claimed:
        if not among.from_first(claimed):
            return _say(planned, "is being trained by another process; left to it", among)
        if not among.from_first(planned.folder.finished):  # by a process that held the folder a moment ago
            started = datetime.now(UTC).isoformat(timespec="seconds")
            with _logged(trainer) as summary:
                status, reason = _run(trainer)
                compiled = compilation.graphs() - before
                record = about | _outcome(trainer, status=status, reason=reason)
                summary |= record | {"started": started, "compiled_graphs": compiled}
            if among.is_first:
                if cfg.keep_weights and status == "done":
                    with replacing(planned.folder.path / WEIGHTS) as part:
                        torch.save(trainer.model.state_dict(), part)
                planned.folder.finish(steps=trainer.steps, evaluations=trainer.evaluations, record=summary)
    return _say(planned, f"kept in {planned.folder.path}", among)


def _run(trainer: Trainer) -> tuple[str, str]:
    try:
        trainer.run()
    except Diverged as outcome:
        return "diverged", str(outcome)
    return "done", ""


@contextmanager
def _logged(trainer: Trainer) -> Iterator[dict[str, Any]]:
    """Finish all loggers however the run ends. The block fills the summary."""
    summary: dict[str, Any] = {}
    try:
        yield summary
    finally:
        for logger in trainer.loggers:
            logger.finish(summary or {"status": "interrupted"})


def _about(planned: RunSpec, trainer: Trainer) -> Row:
    """What is known of a run before it ends."""
    return {
        "run": planned.identity.run,
        "cell": planned.identity.cell,
        **planned.choices,
        "seed": planned.seed,
        "metric": trainer.task.metric,
        "maximise": trainer.task.maximise,
        "validation_size": trainer.task.size("validation"),
        "test_size": trainer.task.size("test"),
        "calibration_samples": calibration_samples(planned.recorded),
        "tuning": str(planned.tuned or ""),
        "tuning_samples": planned.tuned.samples if planned.tuned else 0,
        **asdict(planned.machine),
        "device": planned.machine.described,
        "settings": json.dumps(planned.identity.settings),
    }


def _outcome(trainer: Trainer, *, status: str, reason: str) -> Row:
    values = {split: [row["value"] for row in trainer.evaluations if row["split"] == split] for split in ("validation", "test")}
    seconds = {f"seconds_{name}": value for name, value in trainer.clock.state_dict().items()}
    chunks = [row["physical_batch"] for row in trainer.steps]
    return {
        "status": status,
        "reason": reason,
        "best": (max if trainer.task.maximise else min)(values["validation"]),
        "final": values["test"][-1] if status == "done" else math.nan,
        "samples": trainer.samples,
        "steps": len(trainer.steps),
        "skipped_steps": sum(row["skipped"] for row in trainer.steps),  # updates left out because a gradient overflowed
        "physical_batch": max(chunks, default=0),  # most rows that went through the model at once
        "split_steps": sum(row["physical_batch"] < row["batch_size"] for row in trainer.steps),  # by micro-batches or memory
        "padded_samples": sum(row["padded_samples"] for row in trainer.steps),
        "least_padding": _least_padding(trainer),
        "batch_variation": _variation(trainer.steps),
        "statistics": " ".join(sorted(trainer.needs)),
        "memory_used": _memory_used(trainer),
        "memory_changes": trainer.physical_batch.control.changes if trainer.physical_batch.control else 0,
        "memory_ran_out": trainer.physical_batch.halvings,
        **_first_sizes(trainer.steps),
        "precision": trainer.precision.name,
        **seconds,
        "timed_under": " | ".join(trainer.timed_under),  # more than one where the run was resumed elsewhere
        "estimator": repr(trainer.estimator),
        **({"convolutions": json.dumps(found)} if (found := trainer.estimator.convolutions) else {}),
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "weights": weights_digest(trainer.model),
    }


def _memory_used(trainer: Trainer) -> float:
    """The highest share of memory that was read, by the limit or for a scheduler; nan if none was."""
    read = [trainer.physical_batch.peak, *(row.get(Stat.MEMORY_USED, math.nan) for row in trainer.steps)]
    return max((used for used in read if math.isfinite(used)), default=math.nan)


def _least_padding(trainer: Trainer) -> float:
    """Of sentences, at the run's first batch size: see `waste.least`; else nan."""
    if not isinstance(trainer.task, Sentences):
        return math.nan
    stream = trainer.task.train
    return waste.least(stream.lengths, batching=stream.batching, rows=trainer.batch_size.first or 1)


def _first_sizes(steps: Sequence[Row]) -> dict[str, float]:
    """The values of schema.FIRST; nan without a step."""
    sizes = [(row["batch_size_granted"], row["block_size_granted"]) for row in steps]
    if not sizes:
        return dict.fromkeys(FIRST, math.nan)
    change = next((row["samples"] for row, after in zip(steps, sizes[1:], strict=False) if after != sizes[0]), math.inf)
    return dict(zip(FIRST, (*sizes[0], change), strict=True))


def _variation(steps: Sequence[Row]) -> float:
    """Standard deviation over mean of the samples of whole steps, each over its batch size; nan without a whole step."""
    taken = pairwise([0, *(row["samples"] for row in steps)])
    each = [
        (after - before) / row["batch_size_granted"] for (before, after), row in zip(taken, steps, strict=True) if not row["cut"]
    ]
    return pstdev(each) / fmean(each) if each else math.nan


def _say(planned: RunSpec, what: str, among: Ranks) -> float | None:
    """Print one line for a single run; returns the best validation metric, if any, on the first rank."""
    if not among.is_first:
        return None
    record = planned.folder.record() if planned.folder.finished else None
    if planned.alone:
        outcome = "" if record is None else f" {record['status']}, test {record['metric']} {record['final']:.2f};"
        print(f"{planned.title}:{outcome} {what}", flush=True)
    return None if record is None else float(record["best"])
