"""Digests of the files that settings name: a run is identified by their content, not by their place."""

from collections.abc import Mapping
from typing import Any

from adaptive_bench.experiment.content import content
from adaptive_bench.schedulers.calibration import read_calibration
from adaptive_bench.schedulers.trajectory import read_trajectory

SLOTS = ("scheduler", "block_scheduler")


def by_content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with digests of content: for each path to a trace or a calibration, and for the files of the data set.

    Only the sizes and samples of a trace count, and only what a calibration says of the architecture: a repeated run takes other
    seconds and is still the same run. Raises ValueError for files that cannot be used.
    """
    told = dict(settings)
    if "root" in settings["dataset"]:
        told["dataset"] = settings["dataset"] | {"content": content(settings["dataset"])}
    for slot in SLOTS:
        try:
            told[slot] = _told(settings[slot])
        except ValueError as error:
            raise ValueError(f"{slot}.{error}") from error
    return told


def _told(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(scheduler)
    if "trace" in scheduler:
        results = told.pop("results")  # the folder in which a digest is looked up is no part of the identity
        if scheduler["trace"] is not None:  # null: there is a schedule instead, or the scheduler reports what is missing
            told["trace"] = read_trajectory(scheduler["trace"], results=results, column=scheduler["column"]).digest()
    if isinstance(followed := scheduler.get("schedule"), Mapping):
        if followed.get("trace") is not None:
            raise ValueError(
                f"schedule.trace={followed['trace']}: a schedule sees nothing but the clock; give the trace to the control itself"
            )
        told["schedule"] = _told(followed)
    if scheduler.get("calibration") is not None:
        told["calibration"] = read_calibration(scheduler["calibration"]).digest()
    return told
