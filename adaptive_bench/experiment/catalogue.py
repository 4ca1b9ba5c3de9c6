"""The options of every slot of the configuration."""

import inspect
import logging
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from yaml import YAMLError  # type: ignore[import-untyped,unused-ignore]

from adaptive_bench.schedulers import SizeScheduler
from adaptive_bench.validation import bounds, hints

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it logs the errors that we print


def show(conf: Path, *, more: Path | None = None) -> None:
    """Print every option of every slot with one line of description; for schedulers also the statistics they need, whether they
    can drive the block size, and their source. `more` is a folder of further options. Raises ValueError if it is none.
    """
    if more is not None and not more.is_dir():
        raise ValueError(f"--config-dir {more}: there is no such folder")
    console = Console(width=None if Console().is_terminal else 200)
    roots = [conf, *([more] if more else [])]
    groups = {path.parent.relative_to(root).as_posix() for root in roots for path in root.glob("*/**/*.yaml")}
    for group in sorted(groups):
        columns = {
            "scheduler": ("needs", "blocks", "source"), "arm": ("source", "left open by it"), "sweep": ("cost",),
        }.get(group, ())  # fmt: skip
        table = Table("option", "what", *columns, "settings", title=group, title_justify="left", expand=True)
        # a file that begins with _ is what others share
        for file in sorted((file for root in roots for file in (root / group).glob("[!_]*.yaml")), key=lambda file: file.stem):
            table.add_row(file.stem, *map(escape, describe(file)))
        console.print(table)


def describe(file: Path) -> list[str]:
    """A row of the table: the description, for a scheduler three more cells, and the settings with their values."""
    settings = cast(DictConfig, OmegaConf.load(file))
    if "_target_" not in settings:  # arms and sweeps describe themselves in comments
        comments = [line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and "@package" not in line]
        first = file.read_text().splitlines()[0]
        remarks = [remark(file, name) for name in {"arm": ("Source", "Open"), "sweep": ("Cost",)}.get(file.parent.name, ())]
        return [(comments or [first.partition("# ")[2]])[0], *remarks, ""]
    try:
        target = get_object(settings["_target_"])
    except ImportError as error:
        raise ValueError(f"{file}: {not_found(settings['_target_'], error)}") from error
    lines = (inspect.getdoc(target) or "").splitlines()
    plain = cast(dict[str, Any], OmegaConf.to_container(settings))  # interpolations stay as they are written
    expects = hints(target)
    ranges = {key: bounds(expects.get(key)) for key in plain}
    shown = " ".join(
        f"{key}={value}" + (f" ({ranges[key]})" if ranges[key] else "") for key, value in plain.items() if not key.startswith("_")
    )
    more: list[str] = []
    if isinstance(target, type) and issubclass(target, SizeScheduler):
        more = [needs(target), "no" if target.not_for_blocks else "yes", source(target)]
    first = file.read_text().splitlines()[0]
    said = [first.removeprefix("# ")] if first.startswith("# ") else lines  # a comment tells options of one class apart
    return [said[0] if said else "", *more, shown]


def check_targets(files: Sequence[Path], conf: Path, *, more: Path | None = None) -> None:
    """Raises ValueError if one of these files of a results folder names what no option does, of ours or of those in `more`.

    What somebody else's file names would be called. A run of one's own parts needs the folder of their options.
    """
    known = {target for root in (conf, more) if root for each in root.rglob("*.yaml") for target in _targets(_load(each))}
    for file in files:
        if foreign := [target for target in _targets(_load(file)) if target not in known]:
            raise ValueError(
                f"{file}: {foreign[0]} is in no option of adaptive-bench, and what only a results folder names is not called; "
                "if it is yours, give the folder of your options: --config-dir DIR"
            )


def _load(file: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, YAMLError) as error:
        raise ValueError(f"{file}: no readable yaml ({' '.join(str(error).split())})") from error


def _targets(settings: Any) -> Iterator[str]:
    if isinstance(settings, dict):
        yield from (str(settings["_target_"]),) if "_target_" in settings else ()
        settings = [*settings.values()]
    for value in settings if isinstance(settings, list) else ():
        yield from _targets(value)


def not_found(target: str, error: ImportError) -> ImportError:
    """Hydra's error about a `_target_` as one line with its cause."""
    return ImportError(f"{target} cannot be imported ({error.__cause__ or error}); is its folder on PYTHONPATH?")


def remark(file: Path, name: str) -> str:
    """What a comment `# Name: ...` of an arm or a sweep says, on one line; empty without one."""
    start = f"# {name}: "
    return next(
        (line.removeprefix(start).removesuffix(".") for line in file.read_text().splitlines() if line.startswith(start)), ""
    )


def nearest(key: str, conf: Path) -> str:
    """The setting whose name is nearest to a misspelt one; empty if none is near."""
    files = [conf / "config.yaml", *conf.glob("*/[!_]*.yaml")]
    found = [
        (file.parent.name, cast(DictConfig, OmegaConf.load(file))) for file in files if file.parent.name not in ("arm", "sweep")
    ]
    groups = [(group if group != conf.name else "", settings) for group, settings in found]
    groups += [("block_scheduler", settings) for group, settings in found if group == "scheduler"]
    names = {".".join(filter(None, (group, *path))) for group, settings in groups for path in _paths(settings)}
    return next(iter(get_close_matches(key, names, n=1, cutoff=0.85)), "")


def _paths(settings: DictConfig) -> Iterator[tuple[str, ...]]:
    plain = cast(dict[str, Any], OmegaConf.to_container(settings))
    for name, value in plain.items():
        yield (name,)
        yield from ((name, inner) for inner in (value if isinstance(value, dict) else ()))


def needs(scheduler: type[SizeScheduler]) -> str:
    """The statistics that the scheduler needs with its default settings."""
    defaults = object.__new__(scheduler)  # not constructed, because some settings have no usable default
    return " ".join(sorted(defaults.needs)) or "nothing"


def source(scheduler: type[SizeScheduler]) -> str:
    """The text after "Source:" in the last line of the docstring. Raises ValueError if there is none."""
    last = (inspect.getdoc(scheduler) or "").strip().splitlines()[-1:]
    if not last or not last[0].startswith("Source: "):
        raise ValueError(f"{scheduler.__name__}: the last line of its docstring must be `Source: ...`")
    return last[0].removeprefix("Source: ").removesuffix(".")
