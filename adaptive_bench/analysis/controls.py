"""The controls of an adaptive arm: a sweep that repeats its sizes without its feedback, in another order, or as a constant."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptive_bench.files import replacing
from adaptive_bench.schema import CHOICES, SLOTS

from .labels import control_of
from .read import Runs

CONTROLS = ("replay", "shuffled", "reversed", "mean_matched", "mean_matched_samples", "jump")
# settings of the run and not of what it learns: the sweep takes its own
OWN = ("seed", "results", "progress", "logger", "keep_weights", "checkpoint_every", "checkpoint_seconds")
CHOSEN = tuple(name for name in CHOICES if name not in ("arm", *SLOTS))


def write_controls(runs: Runs, arm: str, folder: Path) -> list[Path]:
    """Write a sweep into `folder`/sweep for each workload on which runs of this arm are done; returns the files.

    The run of seed k follows the sizes of the next seed's run, cyclically: on its own seed a rule without noise would be its own
    replay. All other settings are those of the arm. Raises ValueError for an arm that has no controls.
    """
    known = runs.records[runs.records["label"] == arm]
    if known.empty:
        raise ValueError(f"no arm is labelled {arm!r}; the arms are {', '.join(sorted(runs.records['label'].unique()))}")
    done = known[known["status"] == "done"]
    if done.empty:
        raise ValueError(
            f"no run of {arm} is done in {runs.folder}, and a control repeats the sizes of finished runs; train it first"
        )
    groups = [[*group.to_dict("records")] for _, group in done.groupby("workload", sort=False)]
    texts = {
        _name(arm, at if len(groups) > 1 else None): _sweep(runs, arm, records)  # type: ignore[arg-type]
        for at, records in enumerate(groups)
    }
    written = []
    for name, text in texts.items():
        path = folder / "sweep" / f"{name}.yaml"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part:
                part.write_text(text)
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error.strerror}); name another folder with --write DIR") from error
        written.append(path)
    return written


def _name(arm: str, at: int | None) -> str:
    """A file's name, which is also a word of Hydra's grammar."""
    return re.sub(r"\W+", "_", arm) + ("" if at is None else f"_{at}") + "_controls"


def _sweep(runs: Runs, arm: str, records: Sequence[Mapping[str, Any]]) -> str:
    from omegaconf import OmegaConf  # most who import the analysis write no sweep

    record = records[0]
    slot = _driven(arm, record)
    seeds = {int(each["seed"]): str(each["run"]) for each in records}
    order = sorted(seeds)
    if len(order) < 2:
        raise ValueError(
            f"{arm} is done on one seed of {record['title']} ({order[0]}); a control follows the sizes of another seed, so "
            "two are the least"
        )
    following = {seed: seeds[order[(at + 1) % len(order)]] for at, seed in enumerate(order)}
    config = OmegaConf.to_container(OmegaConf.create(runs.config(record["run"])))
    assert isinstance(config, dict)
    settings = {key: _seedless(value, seed=config["seed"]) for key, value in config.items() if key not in (*OWN, slot)}
    chosen = {name: record[name] or None for name in CHOSEN}
    other = next(each for each in SLOTS if each != slot)
    defaults: list[Any] = [
        *({f"override /{name}": choice} for name, choice in chosen.items()),
        # these have no name in a record; their settings stand below
        *({f"override /{group}": None} for group in ("optimizer", "estimator", "lr_schedule", "order", "memory")),
        {f"override /{_group(other)}": record[other]},
        {f"override /{_group(slot)}": "replay"},
        # as many runs beside each other as the arm had, or their seconds could not be compared
        *([{"override /hydra/launcher": "joblib"}] if record["jobs"] > 1 else []),
        "_self_",
    ]
    sweep = settings | {
        "defaults": defaults,
        slot: {"trace": following, "column": SLOTS[slot], "of": arm},
        "hydra": {
            "mode": "MULTIRUN",
            **({"launcher": {"n_jobs": int(record["jobs"])}} if record["jobs"] > 1 else {}),
            "sweeper": {"params": {"seed": ",".join(map(str, order)), _group(slot): ",".join(CONTROLS)}},
        },
    }
    made = f"# @package _global_\n# The controls of {arm} on {record['title']}, made by `adaptive-bench controls`.\n"
    return made + OmegaConf.to_yaml(
        OmegaConf.create({key: sweep[key] for key in ("defaults", *(k for k in sweep if k != "defaults"))})
    )


def _group(slot: str) -> str:
    return "scheduler" if slot == "scheduler" else "scheduler@block_scheduler"


def _driven(arm: str, record: Mapping[str, Any]) -> str:
    """The slot whose sizes are repeated."""
    driven = [slot for slot in SLOTS if record[slot] != "fixed"]
    if not driven:
        raise ValueError(f"{arm} has fixed sizes, so that there is nothing to repeat; name an adaptive arm")
    if len(driven) > 1:
        raise ValueError(
            f"{arm} drives both the batch and the block size, and a control repeats one; fix one of them "
            "(scheduler=fixed or scheduler@block_scheduler=fixed)"
        )
    if control_of(record["settings"])[0]:
        raise ValueError(f"{arm} is a control itself; name the arm that it belongs to")
    return driven[0]


def _seedless(value: Any, *, seed: int) -> Any:
    """Settings in which a slot's own seed follows the run's, where it did."""
    if not isinstance(value, Mapping):
        return value
    return {key: "${seed}" if key == "seed" and part == seed else _seedless(part, seed=seed) for key, part in value.items()}
