"""A run keeps its identity when code is moved, and runs of another form of identity are never mixed in."""

from collections import defaultdict

import pandas as pd
import pytest
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.record import Identity
from adaptive_bench.schema import EVALUATIONS, IDENTITY_FORM, RECORD, TRACE, stable_names
from tests.conftest import SMALL


def settings(target: str) -> dict:
    return {"seed": 1, "scheduler": {"_target_": target, "initial": 8, "schedule": {"_target_": target}}}


def test_moving_a_class_changes_no_digest():
    here, there = (Identity.of(settings(f"adaptive_bench.{path}.Linear")) for path in ("schedulers.linear", "rules.of.growth"))
    assert here == there
    assert here.run != Identity.of(settings("adaptive_bench.schedulers.linear.Exponential")).run


def test_an_object_of_another_package_keeps_its_whole_path():
    ours, mine = (Identity.of(settings(f"{package}.Linear")) for package in ("adaptive_bench.schedulers", "my_rules"))
    assert ours.run != mine.run
    assert mine.run != Identity.of(settings("my_other_rules.Linear")).run
    assert stable_names({"optimizer": {"_target_": "torch.optim.SGD"}}) == {"optimizer": {"_target_": "torch.optim.SGD"}}


def test_no_two_options_of_a_group_share_the_last_part_of_their_path():
    paths = defaultdict(set)
    for file in conf().glob("*/*.yaml"):
        path = OmegaConf.load(file).get("_target_", "")
        paths[file.parent.name, path.rpartition(".")[2]].add(path)
    assert not [found for found in paths.values() if len(found) > 1]


def test_a_run_writes_the_columns_of_the_schema(trained):
    folder = trained("scheduler.initial=16")
    record, trace, evaluations = (pd.read_parquet(folder / f"{name}.parquet") for name in ("record", "trace", "evaluations"))
    assert set(record) == set(RECORD)
    assert len(RECORD) == len(set(RECORD))
    assert tuple(trace)[: len(TRACE)] == TRACE
    assert tuple(evaluations) == EVALUATIONS


@pytest.mark.parametrize("first_line", ["seed: 0\n", f"# identity form {IDENTITY_FORM - 1}\n"])
@pytest.mark.parametrize("command", ["train", "train -m", "tables", "status", "report -o r.html"])
def test_a_results_folder_of_another_form_is_refused(cli, tmp_path, trained, command, first_line):
    folder = trained("scheduler.initial=16")
    config = folder / "config.yaml"
    assert config.read_text().startswith(f"# identity form {IDENTITY_FORM}\n")
    config.write_text(first_line + "epochs: 2\n")
    more = [*SMALL, "scheduler.initial=16", "seed=0", f"results={tmp_path}"] if "train" in command else [str(tmp_path)]
    code, _, err = cli(*command.split(), *more)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert f"identity form {IDENTITY_FORM} is expected" in err
