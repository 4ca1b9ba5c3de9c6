"""Bad values of every setting: each is refused in one line that names the setting, or fits the setting's kind."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment import build
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.build import check_run
from tests.conftest import composed

VALUES = (0, -1, math.nan, math.inf, 1e30, "abc", None, [], {}, "", True)
GROUPS = (
    "dataset",
    "model",
    "scheduler",
    "optimizer",
    "estimator",
    "lr_rule",
    "lr_schedule",
    "order",
    "batching",
    "memory",
    "logger",
)
OPTIONS = [file for group in GROUPS for file in sorted((conf() / group).glob("[!_]*.yaml"))]
OTHERS = {"root", "download", "architecture", "schedule", "results"}  # paths, and settings of another option


def settings(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, node):
        if OmegaConf.is_missing(node, name) or name.startswith("_"):
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


def outcome(name: str, value: Any, default: Any, attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (ValueError, OmegaConfBaseException) as error:
        return "refused" if name.rpartition(".")[2] in str(error) else f"does not name {name}={value!r}: {error}"
    except Exception as error:
        return f"raw {type(error).__name__} for {name}={value!r}: {error}"
    return f"nonsense: {name}={value!r} for {default!r}" if is_nonsense(value, default) else "accepted"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set that is read from files, made up and tiny."""
    root = tmp_path_factory.mktemp("data")
    for name, side in (("cifar10", 32), ("cifar100", 32), ("tiny_imagenet", 64)):
        (root / name).mkdir()
        for part in ("train", "test"):
            images = np.zeros((300, side, side, 3), np.uint8)
            np.savez(root / name / f"{part}.npz", images=images, labels=np.arange(300) % 10)
    for name, files in (("ptb", "ptb.{}.txt"), ("wikitext2", "wiki.{}.tokens")):
        (root / name).mkdir()
        for part in ("train", "valid", "test"):
            (root / name / files.format(part)).write_text("a b <unk>\n" * 200)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: f"{file.parent.name}-{file.stem}")
@pytest.mark.filterwarnings("ignore")
def test_bad_values_of_an_option_are_refused(file: Path, data: Path, recorded: Path) -> None:
    group, option = file.parent.name, file.stem
    cfg = composed(*(["lr_schedule=cosine"] if group != "lr_schedule" else []), f"{group}={option}")
    with open_dict(cfg):
        del cfg.hydra  # three quarters of what is copied for every value
    given: dict[str, Any] = {}
    objects: list[Any] = []
    if group == "dataset":
        given = {"seed": 0, "device": torch.device("cpu")}
        OmegaConf.update(cfg, "dataset.root", str(data)) if "root" in cfg.dataset else None
    elif group == "model":
        vectors, texts = option in ("mlp", "linear"), option.startswith(("lstm", "gpt"))
        given = {"inputs": (8,) if vectors else () if texts else (3, 64, 64), "outputs": 10}
    elif group == "optimizer":
        objects = [[torch.nn.Parameter(torch.zeros(1))]]
    elif group == "logger":
        given = {"run": "0", "cell": "0", "name": "0", "settings": {}, "folder": "."}
    elif group == "scheduler" and "trace" in list(cfg.scheduler):
        cfg.scheduler.trace = str(recorded)
    ended = Counter[str]()
    for name in settings(cfg[group] or OmegaConf.create()):
        if name in given or name.partition(".")[0] in OTHERS:
            continue
        default = OmegaConf.to_container(cfg, resolve=True)[group]
        for part in name.split("."):
            default = default[part]
        for value in VALUES:
            changed = cfg.copy()
            OmegaConf.update(changed, f"{group}.{name}", value, merge=False)

            def attempt(changed: DictConfig = changed) -> None:
                check_run(changed)
                values = (
                    build.recorded(OmegaConf.to_container(changed[group], resolve=True), seed=0) if group == "scheduler" else {}
                )
                with torch.device("meta" if group == "model" else "cpu"):
                    build.make(changed, group, *objects, **given, **values)

            ended[outcome(name, value, default, attempt)] += 1
    assert {end: count for end, count in ended.items() if end not in ("refused", "accepted")} == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bad_values_of_a_run_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # results=abc is a good folder
    cfg = composed("model=mlp", f"results={tmp_path}")
    own = OmegaConf.masked_copy(cfg, [name for name in cfg if name not in (*GROUPS, "block_scheduler", "hydra", "arm", "sweep")])
    ended = Counter[str]()
    for name in settings(own):
        default = OmegaConf.select(cfg, name)
        for value in VALUES:
            changed = cfg.copy()
            OmegaConf.update(changed, name, value, merge=False)
            ended[outcome(name, value, default, partial(experiment, changed))] += 1
    assert {end: count for end, count in ended.items() if end not in ("refused", "accepted")} == {}
