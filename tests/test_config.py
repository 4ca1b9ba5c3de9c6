"""Every option of every slot composes and builds; every sweep composes with all its arms."""

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from adaptive_bench.__main__ import conf
from adaptive_bench.build import build, plan
from tests.conftest import composed

SLOTS = {"model", "scheduler", "optimizer", "estimator", "lr_rule", "lr_schedule", "logger", "arm"}
OPTIONS = [(slot, file.stem) for slot in sorted(SLOTS) for file in sorted((conf() / slot).glob("*.yaml"))]
DATA = {"digits": (), "synthetic_convex": ("model=linear",)}


@pytest.mark.parametrize(("slot", "option"), OPTIONS)
def test_every_option_builds_and_takes_a_step(tmp_path, slot, option):
    data = ["dataset.train_size=40", f"results={tmp_path}"]
    short = ["lr_schedule.milestones=[1]"] if option == "multistep" else []
    cfg = composed(
        f"{slot}={option}", "scheduler.initial=4", *data, *short, "logger.mode=disabled" if option == "wandb" else "seed=0"
    )
    planned = plan(cfg, cfg.hydra)
    planned.folder.path.mkdir(parents=True)
    trainer = build(cfg, planned)
    for logger in trainer.loggers:
        logger.start([], [])
    trainer.step()
    for logger in trainer.loggers:
        logger.finish({"status": "done"})
    assert trainer.samples == 4


@pytest.mark.parametrize(("dataset", "overrides"), DATA.items())
def test_every_embedded_data_set_builds_and_takes_a_step(tmp_path, dataset, overrides):
    cfg = composed(f"dataset={dataset}", f"results={tmp_path}", *overrides)
    planned = plan(cfg, cfg.hydra)
    planned.folder.path.mkdir(parents=True)
    trainer = build(cfg, planned)
    trainer.step()
    assert trainer.samples == 128


@pytest.mark.parametrize("file", sorted((conf() / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_composes_with_all_its_runs(file):
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [f"sweep={file.stem}"], return_hydra_config=True)
        params = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items()]
        (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(params), None)
        cells = {
            compose("config", [f"sweep={file.stem}", *job], return_hydra_config=True).hydra.runtime.choices["arm"] for job in jobs
        }
    assert len(jobs) >= 10
    assert len(cells) >= 5
    assert cells <= {path.stem for path in (conf() / "arm").glob("*.yaml")}


def test_one_scheduler_group_fills_both_slots():
    cfg = composed("scheduler=exponential", "scheduler@block_scheduler=linear", "block_scheduler.increment=3")
    assert cfg.scheduler._target_.endswith("Exponential")
    assert cfg.block_scheduler._target_.endswith("Linear")
    assert cfg.block_scheduler.increment == 3
    assert cfg.hydra.runtime.choices["scheduler@block_scheduler"] == "linear"
