"""Bad values of every setting: each is refused in one line that names the setting, or fits the setting's kind."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.build import make, plan
from adaptive_bench.schedulers.trajectory import Trajectory
from tests.conftest import composed

VALUES = (0, -1, math.nan, math.inf, 1e30, "abc", None, [], {}, "", True)
GROUPS = ("dataset", "model", "scheduler", "optimizer", "estimator", "lr_rule", "lr_schedule", "order", "logger")
OPTIONS = [file for group in GROUPS for file in sorted((conf() / group).glob("[!_]*.yaml"))]
OBJECTS: dict[str, dict[str, Any]] = {
    "dataset": {"seed": 0, "device": torch.device("cpu")},
    "model": {"inputs": (3, 64, 64), "outputs": 10},
}
NOT_CHECKED = {"root", "download"}  # whether files are there is found when they are read


def settings(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in node:
        if OmegaConf.is_missing(node, name) or str(name).startswith("_"):
            continue
        if OmegaConf.is_dict(node[name]) and node[name]:
            yield from settings(node[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def is_nonsense(value: Any, default: Any) -> bool:
    """Whether an accepted value is of another kind than the setting's own, where that is known."""
    if default is None or value is None:
        return False
    kinds = (bool, str, (int, float), list, dict)
    kind = next(kind for kind in kinds if isinstance(default, kind))
    return not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)


def outcome(name: str, value: Any, default: Any, attempt: Any) -> str:
    try:
        attempt()
    except ValueError as error:
        return "refused" if name.rpartition(".")[2] in str(error) else f"does not name {name}={value!r}: {error}"
    except OmegaConfBaseException as error:
        return "refused" if name.rpartition(".")[2] in str(error) else f"does not name {name}={value!r}: {error}"
    except Exception as error:
        return f"raw {type(error).__name__} for {name}={value!r}: {error}"
    return f"nonsense: {name}={value!r} for {default!r}" if is_nonsense(value, default) else "accepted"


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: f"{file.parent.name}-{file.stem}")
@pytest.mark.filterwarnings("ignore")
def test_bad_values_of_an_option_are_refused(file: Path) -> None:
    group = file.parent.name
    cfg = composed(f"{group}={file.stem}", *(["lr_schedule=cosine"] if group != "lr_schedule" else []))
    given = dict(OBJECTS.get(group, {}))
    if file.stem in ("mlp", "linear"):
        given["inputs"] = (8,)
    elif file.stem.startswith(("lstm", "gpt")):
        given["inputs"] = ()
    if "trace" in list(cfg[group] or ()):
        given["trace"] = Trajectory.of([8, 16], [8, 16])
    first = [[torch.nn.Parameter(torch.zeros(1))]] if group == "optimizer" else []
    given |= {"run": "0", "cell": "0", "name": "0", "settings": {}, "folder": "."} if group == "logger" else {}
    ended = Counter[str]()
    for name in settings(cfg[group] or OmegaConf.create()):
        if name in NOT_CHECKED or name in given:
            continue
        default = OmegaConf.to_container(cfg, resolve=True)[group]
        for part in name.split("."):
            default = default[part]
        for value in VALUES:
            changed = cfg.copy()
            OmegaConf.update(changed, f"{group}.{name}", value, merge=False)
            with torch.device("meta" if group == "model" else "cpu"):
                ended[outcome(name, value, default, lambda: make(changed, group, *first, **given))] += 1
    assert {end: count for end, count in ended.items() if end not in ("refused", "accepted")} == {}


@pytest.mark.filterwarnings("ignore")
def test_bad_values_of_a_run_are_refused(tmp_path: Path) -> None:
    cfg = composed(f"results={tmp_path}")
    own = OmegaConf.masked_copy(cfg, [name for name in cfg if name not in (*GROUPS, "block_scheduler", "hydra", "arm", "sweep")])
    ended = Counter[str]()
    for name in settings(own):
        default = OmegaConf.select(own, name)
        for value in VALUES:
            changed = cfg.copy()
            with open_dict(changed):
                OmegaConf.update(changed, name, value, merge=False)
            ended[outcome(name, value, default, lambda: plan(changed, changed.hydra))] += 1
    assert {end: count for end, count in ended.items() if end not in ("refused", "accepted")} == {}
