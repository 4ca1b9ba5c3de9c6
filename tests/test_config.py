"""Every option of every slot composes and builds; every sweep composes with all its arms."""

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.build import build, plan
from adaptive_bench.schedulers import SizeScheduler
from tests.conftest import composed

SLOTS = {"model", "scheduler", "optimizer", "estimator", "lr_rule", "lr_schedule", "logger", "arm", "order"}
OPTIONS = [(slot, file.stem) for slot in sorted(SLOTS) for file in sorted((conf() / slot).glob("*.yaml"))]
DATA = {
    "digits": (),
    "synthetic_convex": ("model=linear",),
    "synthetic_nonconvex": ("model=mlp",),
    "markov_text": ("model=lstm_small", "block_scheduler.initial=1"),
}


@pytest.mark.parametrize(("slot", "option"), OPTIONS)
@pytest.mark.filterwarnings("ignore:.*MicroBatch on a model with BatchNorm")
def test_every_option_builds_and_takes_a_step(tmp_path, using, slot, option):
    chosen = using(option, 20) if slot == "scheduler" else [f"{slot}={option}", "scheduler.initial=20"]
    first = 20 if "scheduler.initial=20" in chosen else None  # a replayed first size is the trace's
    chosen += ["dataset=markov_text", "block_scheduler.initial=1"] if option.startswith(("lstm", "gpt")) else []
    chosen += ["dataset=markov_text", "model=lstm_small"] if slot == "arm" and option.startswith("block") else []
    size = 6000 if "model=lstm_small" in chosen else 80  # 20 columns of up to 256 tokens
    chosen += {"multistep": ["lr_schedule.milestones=[1]"], "wandb": ["logger.mode=disabled"]}.get(option, [])
    cfg = composed(*chosen, f"dataset.train_size={size}", f"results={tmp_path}")
    planned = plan(cfg, cfg.hydra)
    planned.folder.path.mkdir(parents=True)
    trainer = build(cfg, planned)
    for logger in trainer.loggers:
        logger.start([], [])
    trainer.step()
    for logger in trainer.loggers:
        logger.finish({"status": "done"})
    assert trainer.steps[0]["batch_size"] == first or first is None


@pytest.mark.parametrize(("dataset", "overrides"), DATA.items())
def test_every_embedded_data_set_builds_and_takes_a_step(tmp_path, dataset, overrides):
    cfg = composed(f"dataset={dataset}", f"results={tmp_path}", *overrides)
    planned = plan(cfg, cfg.hydra)
    planned.folder.path.mkdir(parents=True)
    trainer = build(cfg, planned)
    trainer.step()
    assert trainer.samples == 128


def choices(sweep: str, *overrides: str) -> list[dict[str, str]]:
    """The choices of every run of a sweep file."""
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [f"sweep={sweep}", *overrides], return_hydra_config=True)
        params = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items()]
        (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(params), None)
        made = [compose("config", [f"sweep={sweep}", *overrides, *job], return_hydra_config=True) for job in jobs]
    return [dict(job.hydra.runtime.choices) for job in made]


def settings_of(sweep: str) -> list[str]:
    """What the runs of one seed of a sweep file are told, one text a run."""
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [f"sweep={sweep}"], return_hydra_config=True)
        params = [f"{key}={value}" for key, value in cfg.hydra.sweeper.params.items() if key != "seed"]
        (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(params), None)
        return [OmegaConf.to_yaml(compose("config", [f"sweep={sweep}", *job])) for job in jobs]


@pytest.mark.parametrize("file", sorted((conf() / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_no_two_arms_of_a_sweep_are_the_same_run(file):
    runs = settings_of(file.stem)
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize("file", sorted((conf() / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_composes_with_all_its_runs(file):
    runs = choices(file.stem)
    arms = {(run["arm"], run["scheduler"], run["scheduler@block_scheduler"]) for run in runs}
    if "zaremba" in file.stem:  # a published result to be met, not a comparison
        assert (len(runs), len(arms)) == (5, 1)
    else:
        assert len(runs) >= 10
        assert len(arms) >= 5


def kinds() -> dict[str, type[SizeScheduler]]:
    files = (conf() / "scheduler").glob("*.yaml")
    return {file.stem: get_class(OmegaConf.load(file)["_target_"]) for file in files}


def test_the_sweeps_of_schedulers_leave_out_none():
    replays = {"replay", "shuffled", "reversed", "mean_matched", "jump"}
    assert {run["scheduler"] for run in choices("controls")} == replays
    assert {run["scheduler"] for run in choices("schedulers")} == set(kinds()) - replays
    for_blocks = {name for name, kind in kinds().items() if not kind.not_for_blocks}
    assert {run["scheduler@block_scheduler"] for run in choices("blocks")} == for_blocks - replays


def test_one_scheduler_group_fills_both_slots():
    cfg = composed("scheduler=exponential", "scheduler@block_scheduler=linear", "block_scheduler.increment=3")
    assert cfg.scheduler._target_.endswith("Exponential")
    assert cfg.block_scheduler._target_.endswith("Linear")
    assert cfg.block_scheduler.increment == 3
    assert cfg.hydra.runtime.choices["scheduler@block_scheduler"] == "linear"
