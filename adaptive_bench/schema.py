"""The layout of a results folder, shared by what writes it (experiment) and what reads it (analysis)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Counts the ways in which identities were formed. Raise it whenever the same settings get another digest than before: runs of
# two forms in one folder would be trained twice and counted twice.
IDENTITY_FORM = 2
FORM_LINE = f"# identity form {IDENTITY_FORM}\n"  # the first line of a run's config.yaml

TIMING = ("device", "threads", "jobs", "allocator")  # seconds can be compared where these are equal

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
    for config in (results / "runs").glob("*/config.yaml"):
        with config.open() as file:
            if file.readline() != FORM_LINE:
                raise ValueError(
                    f"{results}: run {config.parent.name} was made by another version of adaptive-bench, and this one would not "
                    f"recognise it (identity form {IDENTITY_FORM} is expected); make the runs anew in another results folder"
                )
