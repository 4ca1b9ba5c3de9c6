"""All runs of a sweep before any of them starts, and the list of them."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

from adaptive_bench.experiment.build import RunSpec, plan
from adaptive_bench.experiment.catalogue import remark
from adaptive_bench.experiment.status import console
from adaptive_bench.schema import NOT_STARTED, check_form, distinct

SEED = "seed="
Overrides = frozenset[str]


def runs(config: DictConfig) -> Iterator[tuple[Overrides, DictConfig, RunSpec]]:
    """Every run of a sweep, cell by cell: its overrides, configuration (that of the next run when that is asked for) and plan.

    Composing takes a tenth of a second, so it is done once a cell; the seed is then set. Raises ValueError.
    """
    loader = GlobalHydra.instance().config_loader()
    # as they were written: an interpolation such as ${tuned:FILE} is each run's own, not the sweep's
    grid: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
    words: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    params = [f"{key}={value}" for key, value in (grid["params"] or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*params, *words])
    _refuse_swept_sweeps(overrides)
    cells: dict[tuple[str, ...], list[str]] = {}  # seeds by the other overrides
    for job in itertools.chain.from_iterable(BasicSweeper.split_arguments(overrides, None)):
        seed = next((word for word in reversed(job) if word.startswith(SEED)), "")
        cells.setdefault(tuple(word for word in job if not word.startswith(SEED)), []).append(seed)
    for others, seeds in cells.items():
        cfg = loader.load_sweep_config(config, [*others, *filter(None, seeds[:1])])
        OmegaConf.set_struct(cfg, True)
        for seed in seeds:
            cfg.seed = OmegaConf.from_dotlist([seed]).seed if seed else cfg.seed
            yield frozenset([*others, *filter(None, [seed])]), cfg, plan(cfg, cfg.hydra, elsewhere=True)


def _refuse_swept_sweeps(overrides: Sequence[Override]) -> None:
    """Hydra silently ignores the launcher and the grid of sweep files that are swept themselves."""
    for override in overrides:
        if override.key_or_group == "sweep" and override.is_sweep_override():
            raise ValueError(
                "sweep=A,B: Hydra ignores the grid and the launcher of sweep files that are swept; run one sweep after the other"
            )


def titles(specs: Sequence[RunSpec]) -> dict[str, str]:
    """A title for each run by its digest, in which the settings that tell equal ones apart are named."""
    return distinct(
        {each.identity.run: each.title for each in specs},
        settings={each.identity.run: each.identity.settings for each in specs},
    )


def planned(overrides: Sequence[str], *, conf: Path) -> list[RunSpec]:
    """The specifications of all runs that `adaptive-bench train` with these overrides would train."""
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)
        return [each for _, _, each in runs(config)]


def show(overrides: Sequence[str], *, conf: Path, more: Path | None = None) -> None:
    """Print a line a run of what `adaptive-bench train` with these overrides would train, with its state. Trains nothing.

    `more` is a folder of further options.
    """
    if more is not None:
        overrides = [f"hydra.searchpath=[file://{more.resolve()}]", *overrides]
    found = planned(overrides, conf=conf)
    check_form(found[0].results)
    folders = {each.identity.run: each.folder for each in found}
    table, states = Table("run", "state", "what"), Counter[str]()
    for run, title in titles(found).items():
        state = folders[run].state()["status"]
        state = "to do" if state == NOT_STARTED else state
        states[state] += 1
        table.add_row(run, state, escape(title))
    out = console()
    out.print(table)
    for name in (word.removeprefix("sweep=") for word in overrides if word.startswith("sweep=")):
        file = conf / "sweep" / f"{name}.yaml"
        if file.exists() and (cost := remark(file, "Cost")):
            out.print(f"The whole sweep: {escape(cost)}.")
    cells = len({each.identity.cell for each in found})
    out.print(
        f"{len(folders)} runs in {cells} cells: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    )
