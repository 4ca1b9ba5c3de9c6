"""Digests of the files that settings name: a run is identified by their content, not by their place."""

from collections.abc import Mapping
from typing import Any

from adaptive_bench.experiment.content import content
from adaptive_bench.experiment.recorded import Recorded
from adaptive_bench.schema import SLOTS


def by_content(settings: Mapping[str, Any], recorded: Recorded | None = None) -> dict[str, Any]:
    """The settings with digests of content: of what was `recorded` for each scheduler, and of the files of the data set.

    Only the sizes and samples of a trace count, and only what a calibration says of the architecture: a repeated run takes other
    seconds and is still the same run.
    """
    told = dict(settings)
    if "root" in settings["dataset"]:
        told["dataset"] = settings["dataset"] | {"content": content(settings["dataset"])}
    for slot in SLOTS:
        values = (recorded or {}).get(slot, {})
        told[slot] = _told(settings[slot]) | {name: value.digest() for name, value in values.items()}
    return told


def _told(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """Without the folder in which a digest is looked up."""
    told = dict(scheduler)
    if "trace" in told:
        del told["results"]
    if isinstance(told.get("schedule"), Mapping):
        told["schedule"] = _told(told["schedule"])
    return told
