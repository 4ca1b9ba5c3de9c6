"""From configuration to finished objects. Nothing outside this file reads the configuration."""

import copy
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.execution import compilation
from adaptive_bench.execution.memory import gauge
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.precision import Precision
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.experiment import catalogue, machine
from adaptive_bench.experiment.compatibility import (
    batch_by_length,
    check_conventions,
    check_decay,
    check_fixed_tokens,
    check_own_rule,
    check_pieces,
    check_room,
    check_shareable,
    check_statistics,
)
from adaptive_bench.experiment.fingerprint import by_content
from adaptive_bench.experiment.grid import check_grid, points
from adaptive_bench.experiment.machine import Machine
from adaptive_bench.experiment.record import Identity, RunFolder
from adaptive_bench.experiment.recorded import READ_WITH, Recorded, recorded
from adaptive_bench.experiment.tuned import Tuned, tuning
from adaptive_bench.loggers import Guarded, Heartbeat, Logger, ProgressBar
from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.fixed import Fixed
from adaptive_bench.schema import CHOICES, FORM_LINE, SLOTS
from adaptive_bench.sizes import Position, SizeRange
from adaptive_bench.stats import Stat
from adaptive_bench.streams.order import epoch_generator
from adaptive_bench.training.curriculum import ByLength, Curriculum
from adaptive_bench.training.size_controller import SizeController
from adaptive_bench.training.trainer import Trainer
from adaptive_bench.training.update import Update
from adaptive_bench.validation import Count, Positive, Whole, check, check_arguments

Made = TypeVar("Made")

KINDS: dict[str, Any] = {  # of the settings that no object takes
    "seed": Whole, "epochs": Positive, "checkpoint_every": Positive, "checkpoint_seconds": Positive, "optimizer.lr": Positive,
    "max_physical_batch": Count | None, "precision": Literal["fp32", "tf32", "bf16", "fp16"], "compile": bool, "results": str,
    "max_grad_norm": Positive | None, "momentum_half_life": Positive | None, "tokens_per_step": Literal["floating", "fixed"],
    "device": Literal["auto", "cpu", "cuda"], "threads": Count | None, "progress": bool, "keep_weights": bool,
    "deterministic": bool,
    "workload.delta": Positive,
    "workload.resize_every": Positive,
}  # fmt: skip


def epochs_in(share: float, *, _root_: DictConfig) -> float:
    """`${epochs_in:0.3}`: so many epochs are this share of the budget."""
    check("epochs", _root_.epochs, Positive)
    return share * float(_root_.epochs)


def whole_epochs_in(share: float, *, _root_: DictConfig) -> int:
    """`${whole_epochs_in:0.1}`: the same in whole epochs, at least one."""
    return max(1, round(epochs_in(share, _root_=_root_)))


for resolver in (epochs_in, whole_epochs_in):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """A run before anything is built: its identity, its machine and its folder."""

    identity: Identity
    seed: int
    choices: Mapping[str, str]  # the option chosen for each of CHOICES; "" without an arm
    machine: Machine
    results: Path
    folder: RunFolder
    progress: bool
    alone: bool  # not part of a sweep
    settings: Mapping[str, Any]  # all of them, resolved
    recorded: Recorded  # what the settings of the schedulers name
    tuned: Tuned | None  # how the learning rate was chosen

    @property
    def title(self) -> str:
        size = self.choices["block_scheduler"]
        label = self.choices["arm"] or self.choices["scheduler"] + (f" / {size}" if size != "fixed" else "")
        if arm := next((self.settings[slot].get("of") for slot in SLOTS if self.settings[slot].get("of")), None):
            label = f"{label}, control of {arm}"
        label += f", {self.choices['batching']}" if self.choices["batching"] else ""
        return f"{self.choices['dataset']} {self.choices['model']} {label} seed={self.seed}"

    @property
    def config(self) -> str:
        """What the run's config.yaml holds: its title is the second line."""
        return f"{FORM_LINE}# {self.title}\n{OmegaConf.to_yaml(OmegaConf.create(dict(self.settings)))}"


def check_run(cfg: DictConfig) -> None:
    """Raises ValueError for a setting of the run itself that is not of its kind."""
    for name, kind in KINDS.items():
        check(name, OmegaConf.select(cfg, name), kind)
    check_grid(_plain(cfg, "evaluate_every"))


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The settings of a run, resolved; without the workload's, which the arms have already interpolated.

    `deterministic` is among them where it is asked for: a run of before there was this setting is the same run.
    """
    outside = ("hydra", "workload", *(() if cfg.deterministic else ("deterministic",)))
    return {str(key): _plain(cfg, str(key)) for key in cfg if key not in outside}


def plan(cfg: DictConfig, hydra: DictConfig, *, elsewhere: bool = False) -> RunSpec:
    """Specify a run from its configuration and set up this process (threads, allocator). `hydra` is Hydra's configuration.

    `elsewhere`: the sweep's engine may train it on another machine, whose devices this one cannot know.
    """
    check_run(cfg)
    alone = hydra.mode != RunMode.MULTIRUN
    chosen = hydra.runtime.choices
    choices = {name: chosen.get("scheduler@block_scheduler" if name == "block_scheduler" else name) or "" for name in CHOICES}
    words: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # one may hold an interpolation of a run
    if choices["arm"] and any(word.startswith("lr_rule=") for word in words):
        choices["arm"] += f" (lr_rule={choices['lr_rule']})"  # not the method as published
    settings = resolved(cfg)
    engine = hydra.launcher if not alone and "cpus" in hydra.launcher else None
    if engine is not None:
        _check_request(cfg.device, engine)
    here = machine.prepare(
        device=cfg.device,
        threads=engine.cpus if engine is not None and cfg.threads is None else cfg.threads,
        jobs=1 if alone else _jobs(hydra.launcher),
        elsewhere=elsewhere and engine is not None,
        deterministic=cfg.deterministic,
    )
    settings["device"] = here.device
    if here.ranks > 1:
        settings["ranks"] = here.ranks  # BatchNorm and dropout see the rows of a rank
    read = partial(recorded, seed=cfg.seed)
    found = {slot: call(slot, read, settings[slot]) for slot in SLOTS}
    identity = Identity.of(by_content(settings, found))
    return RunSpec(
        identity=identity,
        seed=cfg.seed,
        choices=choices,
        machine=here,
        results=Path(cfg.results),
        folder=RunFolder(Path(cfg.results), identity.run),
        progress=cfg.progress,
        alone=alone,
        recorded=found,
        tuned=tuning(cfg, chosen),
        settings=settings,
    )


def _plain(cfg: DictConfig, name: str) -> Any:
    """A setting, or all settings of a slot, without Hydra's containers."""
    return OmegaConf.to_container(cfg[name], resolve=True) if OmegaConf.is_config(cfg[name]) else cfg[name]


def _check_request(device: str, engine: DictConfig) -> None:
    """Raises ValueError if an engine of other machines is not told a run's device, which is part of its identity."""
    if device == "auto":
        raise ValueError(f"device=auto: hydra/launcher={engine.engine} trains on other machines; set device=cpu or device=cuda")
    if (device == "cuda") != (engine.gpus > 0):
        raise ValueError(
            f"device={device} and hydra.launcher.gpus={engine.gpus}: with device=cuda, set how many GPUs "
            f"hydra/launcher={engine.engine} gives each run; with device=cpu, 0"
        )


def _jobs(launcher: DictConfig) -> int | None:
    """The number of runs of a sweep that run at the same time on this machine; None if the launcher does not say."""
    if launcher._target_.endswith(".BasicLauncher"):
        return 1
    wanted: int | None = launcher.get("n_jobs")
    return wanted if wanted is None or wanted > 0 else machine.available_cores()


def build(cfg: DictConfig, planned: RunSpec, *, among: Ranks | None = None) -> Trainer:
    """The trainer of a run, checked. `among` are the processes that train it. Raises ValueError if it cannot run."""
    device = torch.device(planned.machine.device)
    among = Ranks() if among is None else among
    torch.manual_seed(cfg.seed)  # for initialisation and dropout; everything else has its own generator
    task: Task = make(cfg, "dataset", seed=cfg.seed, device=device)
    batching = make(cfg, "batching") if "batching" in cfg else None
    model: nn.Module = make(cfg, "model", inputs=task.inputs, outputs=task.outputs)
    # images are stored channels-last, and convolutions are faster that way
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    epoch = task.train.epoch_samples
    start = Position(0, max(1, round(cfg.epochs * epoch)), epoch)
    batch = _slot(cfg, planned, "scheduler", "batch_size", start, largest=task.train.most_rows)
    block = _slot(cfg, planned, "block_scheduler", "block_size", start, largest=epoch if task.has_blocks else 1)
    update = _update(cfg, model, start)
    if task.has_blocks:
        check_room(batch, block, start)
    if batching is not None:
        fixed = isinstance(batch.scheduler, Fixed)
        smallest = batch.peek(start) if fixed else batch.sizes.smallest
        call("batching", batch_by_length, task, model, batching, smallest)
    check_decay(batch.scheduler, start)
    if not planned.choices["arm"]:
        check_own_rule(batch.scheduler, update.rule)
    check_conventions(cfg.tokens_per_step, task, batch=batch, block=block, rule=update.rule)
    if among.count > 1:
        check_shareable(is_ordered="scoring_epochs" in cfg.order)
    if cfg.tokens_per_step == "fixed":
        check_fixed_tokens(batch, block, start)
    trainer = Trainer(
        model=model,
        task=task,
        update=update,
        batch_size=batch,
        block_size=block,
        fixed_tokens=cfg.tokens_per_step == "fixed",
        estimator=make(cfg, "estimator"),
        precision=Precision(cfg.precision, device),
        physical_batch=_physical_batch(cfg, device, batch.scheduler),
        ranks=among,
        budget=start.budget,
        evaluate_at=points(_plain(cfg, "evaluate_every"), epoch_samples=epoch, budget=start.budget),
        checkpoint_every=max(1, round(float(cfg.checkpoint_every) * epoch)),
        checkpoint_seconds=float(cfg.checkpoint_seconds),
        checkpoint=planned.folder.checkpoint,
        order_samples=_arrangement(cfg, planned, task),
        conditions=planned.machine.timing,
        device=device,
        loggers=_loggers(cfg, planned, budget=start.budget, metric=task.metric) if among.is_first else (),
    )
    call("scheduler", check_pieces, batch.scheduler, trainer.estimator)
    if isinstance(task, Sentences):
        call("batching", check_statistics, task.train.batching, trainer.needs)
    if among.rank:  # ranks share the initialisation, but need different dropout masks
        torch.manual_seed(epoch_generator(cfg.seed, among.rank, purpose=5).initial_seed())
    if planned.machine.device == planned.identity.settings["device"]:  # a sweep builds its runs on the CPU first
        trainer.precision.check(model)
    if cfg.compile:
        compilation.compile_model(
            model, hooked=trainer.estimator.hooked(trainer.needs), estimator=type(trainer.estimator).__name__
        )
    return trainer


def _arrangement(cfg: DictConfig, planned: RunSpec, task: Task) -> Callable[[nn.Module, Task], float] | None:
    """The function that orders the training samples before the first step; None for the ordinary shuffle."""
    if not cfg.order:
        return None
    arrangement: Curriculum | ByLength = make(cfg, "order")
    call("order", arrangement.check, task)
    # the scores depend on these; runs that differ in other settings share them
    parts = {"dataset", "model", "order", "seed", "device"}
    settings = {key: value for key, value in planned.identity.settings.items() if key.partition(".")[0] in parts}
    settings.pop("order.span")
    cache = planned.results / "scores" / f"{Identity.of(settings).run}.pt"
    return partial(call, "order", partial(arrangement.order_samples, seed=cfg.seed, cache=cache))


def _physical_batch(cfg: DictConfig, device: torch.device, scheduler: SizeScheduler) -> PhysicalBatch:
    """Raises ValueError where peaks of memory cannot be read, or are read for two purposes."""
    if "memory" not in cfg:
        if Stat.MEMORY_USED in scheduler.needs:
            call("scheduler", gauge, device)  # raises
        return PhysicalBatch(maximum=cfg.max_physical_batch)
    if Stat.MEMORY_USED in scheduler.needs:
        raise ValueError("memory=limit: scheduler=memory reads and resets the same peaks; leave memory out")
    return PhysicalBatch(maximum=cfg.max_physical_batch, gauge=call("memory", gauge, device), memory=make(cfg, "memory"))


def _update(cfg: DictConfig, model: nn.Module, start: Position) -> Update:
    schedule = make(cfg, "lr_schedule")
    call("lr_schedule", schedule, start)
    return Update(
        optimizer=make(cfg, "optimizer", model.parameters()),
        lr=cfg.optimizer.lr,
        rule=make(cfg, "lr_rule"),
        schedule=schedule,
        max_grad_norm=cfg.max_grad_norm,
        momentum_half_life=cfg.momentum_half_life,
    )


def make(cfg: DictConfig, slot: str, *objects: Any, **values: Any) -> Any:
    """Instantiate a slot; a ValueError is prefixed with the slot's name: "scheduler.initial=0: a finite number ...".

    `values` replace settings of their names. They are handed on as they are, where Hydra would make configurations of them.
    """
    settings = copy.deepcopy(cfg[slot])
    _leave_out(settings, {*READ_WITH, *values})
    try:
        made = instantiate(settings, _partial_=True, _convert_="all")
        call(slot, check_arguments, made.func, made.keywords)
        return call(slot, partial(made, *objects, **values))
    except InstantiationException as error:
        if isinstance(error.__cause__, (ValueError, TypeError)):
            raise named(slot, error.__cause__) from error
        if isinstance(error.__cause__, ImportError):
            raise named(slot, catalogue.not_found(settings._target_, error.__cause__)) from error
        raise


def _leave_out(settings: DictConfig, names: Collection[str]) -> None:
    with open_dict(settings):
        for name in [name for name in settings if name in names]:
            del settings[name]
    if OmegaConf.is_dict(settings.get("schedule")):  # a control's, which may be another control
        _leave_out(settings.schedule, READ_WITH)


def call(slot: str, function: Callable[..., Made], *arguments: Any) -> Made:
    """Call a function; a ValueError is prefixed with the slot's name."""
    try:
        return function(*arguments)
    except (ValueError, TypeError) as error:
        raise named(slot, error) from error


def named(slot: str, error: Exception) -> ValueError:
    """The error prefixed with its slot; "initial=0: ..." becomes "scheduler.initial=0: ..."."""
    return ValueError(f"{slot}.{error}" if re.match(r"\w+=", str(error)) else f"{slot}: {error}")


def _slot(cfg: DictConfig, planned: RunSpec, scheduler: str, size: str, start: Position, *, largest: int) -> SizeController:
    """A scheduler with its range, cut to what the data set has. A larger minimum or first size is refused."""
    rule: SizeScheduler = make(cfg, scheduler, **planned.recorded[scheduler])
    if size == "block_size" and largest == 1 and not isinstance(rule, Fixed):
        raise ValueError(f"{scheduler}={type(rule).__name__}: the rows of this data set have no length to schedule; take fixed")
    if size == "block_size" and rule.not_for_blocks:
        raise ValueError(f"{scheduler}={type(rule).__name__}: {rule.not_for_blocks}; let it drive the batch size (scheduler=...)")
    if "column" in cfg[scheduler] and cfg[scheduler].column != size:
        raise ValueError(f"{scheduler}.column={cfg[scheduler].column}: this slot sets the {size}; set {scheduler}.column={size}")
    wanted: dict[str, Any] = OmegaConf.to_container(cfg[size])  # type: ignore[assignment]
    if isinstance(wanted["minimum"], int) and wanted["minimum"] > largest:
        raise ValueError(f"{size}.minimum={wanted['minimum']}: this data set allows sizes up to {largest}")
    controller = call(size, lambda: SizeController(scheduler=rule, sizes=SizeRange(**wanted)))
    controller.sizes = call(size, controller.sizes.cut, largest)
    if 1 < largest < rule.initial == rule.propose(start):  # controls start with another size than `initial`, which the range cuts
        raise ValueError(
            f"{scheduler}={type(rule).__name__}: it starts with the size {rule.initial:g}, and this data set has {largest} "
            f"samples; lower {scheduler}.initial or take more data"
        )
    return controller


def _loggers(cfg: DictConfig, planned: RunSpec, *, budget: int, metric: str) -> list[Logger]:
    loggers: list[Logger] = [Heartbeat(planned.folder.beat, budget=budget, metric=metric)]
    if planned.progress and planned.alone:
        loggers.append(ProgressBar(planned.title, budget=budget, metric=metric))
    if cfg.logger:
        identity = planned.identity
        labels = {"run": identity.run, "cell": identity.cell, "name": planned.title, "settings": identity.settings}
        loggers.append(Guarded(make(cfg, "logger", **labels, folder=cfg.logger.folder or str(planned.results))))
    return loggers
