"""Names for what a digest identifies: the label of an arm, the title of a workload."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from adaptive_bench.schema import SLOTS

Settings: TypeAlias = Mapping[str, object]

# what an arm may change; everything else says which task is being learned
# fmt: off
ARM_SETTINGS = frozenset({
    "arm", "seed", "scheduler", "block_scheduler", "batch_size", "block_size", "lr_rule", "lr_schedule", "optimizer", "estimator",
    "logger", "batching", "max_grad_norm", "momentum_half_life", "order", "tokens_per_step", "max_physical_batch",
})
# fmt: on


def task_settings(settings: Settings) -> dict[str, object]:
    """The settings that every arm of a comparison must share."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in ARM_SETTINGS}


def workload(record: Settings, *, settings: Settings) -> str:
    """A digest of the data set, the model, the metric and the settings of the task: only runs with the same one are compared."""
    parts = [record["dataset"], record["model"], record["metric"], task_settings(settings)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def control_of(settings: Settings) -> tuple[str, str]:
    """The arm whose control a run is, and the slot that repeats its sizes; "" of a run that is none."""
    found = ((settings.get(f"{slot}.of"), slot) for slot in SLOTS)
    return next(((str(arm), slot) for arm, slot in found if arm), ("", ""))


def label(record: Mapping[str, Any]) -> str:
    """The arm's name, or of a control that of its arm with its own; without one, the choices that make it up."""
    arm, slot = control_of(record["settings"])
    if arm:
        return f"{arm}: {record[slot]}"
    block, rule = record["block_scheduler"], record["lr_rule"]
    made = f"{record['scheduler']}" + (f" / {block}" if block != "fixed" else "") + (f" + {rule}" if rule != "none" else "")
    knows = ", calibrated" if record["settings"].get("scheduler.calibration") else ""
    return str(record["arm"] or made) + knows + (f", {record['batching']}" if record["batching"] else "")
