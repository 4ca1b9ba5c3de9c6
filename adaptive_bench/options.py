"""What can stand in each slot of the configuration."""

from pathlib import Path
from typing import cast

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show(conf: Path) -> None:
    """Print every option of every slot with the first line of what it stands for."""
    console = Console(width=None if Console().is_terminal else 200)
    for folder in sorted(path for path in conf.iterdir() if path.is_dir()):
        table = Table("option", "what", "settings", title=folder.name, title_justify="left", expand=True)
        for file in sorted(folder.glob("*.yaml")):
            table.add_row(file.stem, *map(escape, describe(file)))
        console.print(table)


def describe(file: Path) -> tuple[str, str]:
    """One line on what the option does, and its settings with their values."""
    settings = cast(DictConfig, OmegaConf.load(file))
    first = file.read_text().splitlines()[0]
    if "_target_" not in settings:  # an arm or a sweep says in its second line what it is
        comments = [
            line.lstrip("# ") for line in file.read_text().splitlines() if line.startswith("#") and "@package" not in line
        ]
        return (comments or [first.partition("# ")[2]])[0], ""
    documentation = get_object(settings["_target_"]).__doc__ or ""
    shown = " ".join(f"{key!s}={value}" for key, value in settings.items() if not str(key).startswith("_"))
    return documentation.strip().splitlines()[0] if documentation.strip() else "", shown
