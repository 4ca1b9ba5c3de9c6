"""What stands in the files that settings name: a run is what is in them, wherever they lie."""

from collections.abc import Mapping
from typing import Any

from adaptive_bench.schedulers.calibration import read_calibration
from adaptive_bench.schedulers.trajectory import read_trajectory

SLOTS = ("scheduler", "block_scheduler")


def by_content(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a digest of the content in place of each path to a trace or a calibration.

    Of a trace, its sizes and samples count, of a calibration what it says of the architecture: making either anew writes
    other seconds, and the runs that use it are the same runs. Raises ValueError for files that cannot be used.
    """
    told = dict(settings)
    for slot in SLOTS:
        try:
            told[slot] = _told(settings[slot])
        except ValueError as error:
            raise ValueError(f"{slot}.{error}") from error
    return told


def _told(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(scheduler)
    if "trace" in scheduler:
        results = told.pop("results")  # where a digest is looked up says nothing of what is found
        if scheduler["trace"] is not None:  # null: a schedule stands for it, or the scheduler will say what is missing
            told["trace"] = read_trajectory(scheduler["trace"], results=results, column=scheduler["column"]).digest()
    followed = scheduler.get("schedule")
    if isinstance(followed, Mapping) and followed.get("trace") is not None:
        raise ValueError(
            f"schedule.trace={followed['trace']}: a schedule sees nothing but the clock; give the trace to the control itself"
        )
    if scheduler.get("calibration") is not None:
        told["calibration"] = read_calibration(scheduler["calibration"]).digest()
    return told
