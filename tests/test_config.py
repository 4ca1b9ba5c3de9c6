"""Every option of every slot composes and builds; every sweep composes with all its arms."""

import copy
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_object
from omegaconf import OmegaConf, open_dict

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.validation import check_arguments
from tests.conftest import composed

SLOTS = {"model", "scheduler", "optimizer", "estimator", "lr_rule", "lr_schedule", "logger", "arm", "order", "batching"}
OPTIONS = [(slot, file.stem) for slot in sorted(SLOTS) for file in sorted((conf() / slot).glob("[!_]*.yaml"))]
SWEEPS = sorted(file.stem for file in (conf() / "sweep").glob("[!_]*.yaml"))
DATA = {
    "digits": (),
    "synthetic_convex": ("model=linear",),
    "synthetic_nonconvex": ("model=mlp",),
    "mnist1d": ("model=mlp",),
    "markov_text": ("model=lstm_small", "block_scheduler.initial=1"),
    "lengths": ("model=lstm_small", "scheduler.initial=8"),
}
NEEDED = {  # by options that do not go with the defaults, or would take long
    "multistep": ["lr_schedule.milestones=[1]"],
    "vit_b16": ["model.patch=8"],  # one patch instead of 64: the layers are the same
    "wandb": ["logger.mode=disabled"],
    "by_length": ["dataset=lengths", "model=lstm_small"],
}


@pytest.fixture(scope="module", autouse=True)
def parsed_once() -> Iterator[None]:
    """Every composition reads some forty files, the same ones: here each is parsed once, and copied."""
    load, parsed = OmegaConf.load, {}

    def cached(file):
        name = getattr(file, "name", file)
        if name not in parsed:
            parsed[name] = load(file)
        return copy.deepcopy(parsed[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", cached)
        yield


@pytest.mark.parametrize(("slot", "option"), OPTIONS)
@pytest.mark.filterwarnings("ignore:.*MicroBatch on a model with BatchNorm", "ignore:scheduler.estimator=sheet")
def test_every_option_builds_and_takes_a_step(tmp_path, using, slot, option):
    chosen = using(option, 20) if slot == "scheduler" else [f"{slot}={option}", "scheduler.initial=20"]
    first = 20 if "scheduler.initial=20" in chosen else None  # a replayed first size is the trace's
    chosen += [f"lr_rule={option}", "lr_schedule=cosine"] if option in ("smith", "seesaw") and slot == "scheduler" else []
    chosen += ["dataset=markov_text", "block_scheduler.initial=1"] if option.startswith(("lstm", "gpt")) else []
    chosen += ["dataset=markov_text", "model=lstm_small"] if slot == "arm" and option.startswith("block") else []
    chosen += ["dataset=lengths", "model=gpt_mini"] if slot == "batching" else []
    size = 6000 if "model=lstm_small" in chosen else 80  # 20 columns of up to 256 tokens
    cfg = composed(*chosen, *NEEDED.get(option, ()), f"dataset.train_size={size}", f"results={tmp_path}")
    trainer = experiment(cfg)
    for logger in trainer.loggers:
        logger.start([], [])
    trainer.step()
    for logger in trainer.loggers:
        logger.finish({"status": "done"})
    if option not in ("tokens", "packed"):  # a budget for 20; all that 80 short sentences fill
        assert trainer.steps[0]["batch_size"] == first or first is None


@pytest.mark.parametrize(("dataset", "overrides"), DATA.items())
def test_every_embedded_data_set_builds_and_takes_a_step(tmp_path, dataset, overrides):
    cfg = composed(f"dataset={dataset}", f"results={tmp_path}", *overrides)
    trainer = experiment(cfg)
    trainer.step()
    assert trainer.samples == (trainer.steps[0]["samples"] if dataset == "lengths" else 128)


@dataclass(frozen=True)
class Swept:
    """A sweep file: how many runs it has, and, of the runs that were composed, the choices and the settings as text."""

    runs: int
    choices: list[Mapping[str, str]]
    settings: list[str]

    def check_schedules(self) -> None:
        """Raises ValueError where a sweep sets what its own learning-rate schedule has, and the schedule of an arm has not."""
        for schedule in (OmegaConf.create(each)["lr_schedule"] for each in self.settings):
            own = {name: value for name, value in schedule.items() if not name.startswith("_")}
            check_arguments(get_object(schedule["_target_"]), own)

    def resizes_within_its_budget(self) -> bool:
        """Whether rules that resize once in so many epochs, as DiveBatch, do so before the run ends."""
        return all(run["workload"]["resize_every"] < run["epochs"] for run in map(OmegaConf.create, self.settings))


@cache
def swept(sweep: str) -> Swept:
    """Compose every value of every parameter of a sweep once, with the first values of the other parameters.

    Composing a run takes a tenth of a second, and the sweeps have more than a thousand. What is left out differs from two runs
    that are composed in one parameter each: a seed, or groups of settings that do not overlap, as an arm's and a model's.
    """
    choices, settings = [], []
    with initialize_config_dir(str(conf()), version_base="1.3"):
        params = compose("config", [f"sweep={sweep}"], return_hydra_config=True).hydra.sweeper.params
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        parsed = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
        seed = list(params).index("seed")
        near = [job for job in jobs if job[seed] == jobs[0][seed] and sum(map(str.__ne__, job, jobs[0])) <= 1]
        for job in near:
            cfg = compose("config", [f"sweep={sweep}", *job], return_hydra_config=True)
            with open_dict(cfg):
                choices.append(dict(cfg.pop("hydra").runtime.choices))
            settings.append(OmegaConf.to_yaml(cfg, resolve=True))
    return Swept(runs=len(jobs), choices=choices, settings=settings)


@pytest.mark.slow  # in another worker than the test before it composes every sweep again
@pytest.mark.parametrize("sweep", SWEEPS)
def test_no_two_arms_of_a_sweep_are_the_same_run(sweep):
    settings = swept(sweep).settings
    assert len(set(settings)) == len(settings)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_composes_with_all_its_runs(sweep):
    found = swept(sweep)
    found.check_schedules()
    assert found.resizes_within_its_budget()
    arms = {(run["arm"], run["scheduler"], run["scheduler@block_scheduler"], run["batching"]) for run in found.choices}
    if "zaremba" in sweep:  # a published result to be met, not a comparison
        assert (found.runs, len(arms)) == (5, 1)
    elif sweep == "lengths_packed_cpu":  # a part of lengths_cpu
        assert (found.runs, len(arms)) == (6, 2)
    elif sweep == "memory_cpu":
        assert (found.runs, len(arms)) == (9, 3)
    elif sweep == "serving_cpu":  # a model to be served; what is compared are the policies
        assert found.runs == 1
    elif sweep in ("deba_drop", "divebatch_rates_cpu", "variations_deba", "ptb_combined"):  # settings of a few methods
        assert found.runs == 30
    elif sweep in ("deba_digits", "deba_growth_cpu", "deba_signals", "diversity", "divebatch_delta_cpu") or sweep.startswith(
        "variations"
    ):  # the same, more of them
        assert found.runs >= 40
    else:
        assert found.runs >= 7
        assert len(arms) >= 5


LEFT_OUT = (
    "memory",
    "fixed_large_rescaled",
    "zaremba",
    "block",
    "deba_reversed",
    "deba_variance",
    "deba_norm",
    "deba_loss",
    "deba_equal",
)


def test_the_sweeps_of_methods_leave_out_none():
    arms = {file.stem for file in (conf() / "arm").glob("*.yaml")}
    assert {run["arm"] for run in swept("field_digits").choices} == {arm for arm in arms if not arm.startswith(LEFT_OUT)}
    rules = {run["scheduler@block_scheduler"] for run in swept("blocks").choices}
    assert rules == {"fixed", "exponential", "linear", "step", "root", "loss", "plateau", "random_bptt"}


def test_an_arm_wins_over_its_sweep():
    assert composed("sweep=block_demo").scheduler.initial == 16
    assert composed("sweep=block_demo", "arm=zaremba_small").scheduler.initial == 20


def test_one_scheduler_group_fills_both_slots():
    cfg = composed("scheduler=exponential", "scheduler@block_scheduler=linear", "block_scheduler.increment=3")
    assert cfg.scheduler._target_.endswith("Exponential")
    assert cfg.block_scheduler._target_.endswith("Linear")
    assert cfg.block_scheduler.increment == 3
    assert cfg.hydra.runtime.choices["scheduler@block_scheduler"] == "linear"


OTHER_DEFAULTS = {  # yaml and Python differ on purpose
    ("batching", "fixed"): {"pad_to"},  # policies of one class
    ("batching", "packed"): {"pool"},
    ("batching", "tokens"): {"count"},
    ("model", "gpt_mini"): {"dropout"},  # the library's default is none, as for every other model
    ("model", "linear"): {"hidden"},  # sizes of one function
    ("model", "lstm_650"): {"dropout", "init"},
    ("model", "lstm_1500"): {"dropout", "init"},
    ("model", "efficientnet_cpu"): {"width", "depth", "dropout", "stochastic_depth"},
    ("model", "mobilenet_v3_small_cpu"): {"batch_norm_momentum"},  # for short runs
    ("scheduler", "mean_matched_samples"): {"match"},  # options of one class
    ("scheduler", "deba"): {"weights"},  # the names of the weights, each left open
}


def test_a_setting_has_the_same_default_in_yaml_and_in_python():
    different = {}
    for file in sorted(conf().glob("*/[!_]*.yaml")):
        settings = OmegaConf.to_container(OmegaConf.load(str(file)))
        if not settings.get("_target_", "").startswith("adaptive_bench."):  # torch's own are not ours to set
            continue
        parameters = inspect.signature(get_object(settings["_target_"])).parameters
        for name, value in settings.items():
            default = parameters[name].default if name in parameters else inspect.Parameter.empty
            is_taken_from_elsewhere = isinstance(value, str) and (value.startswith("${") or value == "???")
            if default is inspect.Parameter.empty or is_taken_from_elsewhere:
                continue
            if json.loads(json.dumps(default)) != value:  # a tuple is a list in a yaml
                different.setdefault((file.parent.name, file.stem), set()).add(name)
    assert different == OTHER_DEFAULTS
