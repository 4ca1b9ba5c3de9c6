"""The settings of every published claim, composed as its sweep composes them. Run this to write them for the tables to read:

python -m tests.analysis.published_settings
"""

import json
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.analysis.published import PUBLISHED, SETTINGS, own_settings
from adaptive_bench.experiment.build import resolved
from adaptive_bench.experiment.record import Identity


def composed(sweep: str, *overrides: str) -> DictConfig:
    """A run of a sweep, without training."""
    with initialize_config_dir(str(conf()), version_base="1.3"):
        return compose("config", [f"sweep={sweep}", *overrides], return_hydra_config=True)


def arms(sweep: str) -> list[str]:
    """The arms that a sweep trains, which may vary the seed beside them and nothing else."""
    params = composed(sweep).hydra.sweeper.params
    if extra := set(params) - {"seed", "arm"}:
        raise ValueError(f"sweep={sweep} also varies {', '.join(sorted(extra))}; a claim is about a sweep of seeds and arms")
    return [arm.strip() for arm in params.arm.split(",")]


def settings(cfg: DictConfig) -> dict[str, Any]:
    """What such a run records as its settings, without the data's content."""
    return dict(json.loads(json.dumps(Identity.of(resolved(cfg)).settings)))


def claimed() -> dict[str, dict[str, dict[str, Any]]]:
    """By sweep, then by arm: the settings of each claim; under "" those that all claimed arms of the sweep share.

    Raises ValueError for a claim that no run of its sweep can match.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for at, entry in enumerate(OmegaConf.load(PUBLISHED).claims, start=1):
        sweep, arm = entry.workload, entry.arm
        if not (conf() / "sweep" / f"{sweep}.yaml").is_file():
            raise ValueError(f"{PUBLISHED.name}: entry {at}: no file conf/sweep/{sweep}.yaml; name the sweep that trains {arm}")
        if arm not in (trained := arms(sweep)):
            raise ValueError(f"{PUBLISHED.name}: entry {at}: sweep={sweep} trains no arm {arm!r}; it trains {', '.join(trained)}")
        found.setdefault(sweep, {})[arm] = own_settings(settings(composed(sweep, f"arm={arm}")))
    return {sweep: _factored(each) for sweep, each in found.items()}


def _factored(by_arm: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    first, *others = by_arm.values()
    shared = {key: value for key, value in first.items() if all(key in each and each[key] == value for each in others)}
    return {"": shared} | {arm: {key: value for key, value in each.items() if key not in shared} for arm, each in by_arm.items()}


if __name__ == "__main__":
    SETTINGS.write_text(json.dumps(claimed(), indent=1, sort_keys=True) + "\n")
