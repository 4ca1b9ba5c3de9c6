"""Step times of this device by batch and block size, as the file that `analysis/device.py` describes."""

import math
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from scipy import stats

from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.execution import ranks
from adaptive_bench.execution.memory import Gauge, gauge
from adaptive_bench.experiment.build import RunSpec, build, plan
from adaptive_bench.files import check_writable, replacing
from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.fixed import Fixed
from adaptive_bench.sizes import BatchShape, SizeRange
from adaptive_bench.stats import Stat
from adaptive_bench.training.trainer import Trainer

Cell = TypeVar("Cell")

ROUNDS = 7  # of all sizes in turn: the fewest, but one, whose order statistics bound a median with 95 %
VISIT = 0.1  # seconds of steps in a row at one size, if MOST_STEPS take as long
MOST_STEPS = 20
SHARE = 0.95  # of a CPU's memory that a step may take: beyond it the kernel ends the process instead of raising an error
STATISTICS = frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM})  # those of the gradient noise scale, which most rules read
TITLE = "# made by `adaptive-bench profile`, for `adaptive-bench tables --device`; analysis/device.py describes the format\n"
INTERVAL = "95 % of the median, by order statistics"
# of the sizes alone: nothing limits or moves them, the weights stay as they are and no step diverges
HELD = (
    "scheduler=fixed", "scheduler.initial=1", "batch_size.growth_cap=null", "batch_size.cooldown=null", "lr_rule=none",
    "tokens_per_step=floating", "block_size.growth_cap=null", "block_size.cooldown=null", "optimizer.lr=1e-12",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The file of a profile, and a line on what it holds."""

    file: Path
    said: str


def profile(overrides: Sequence[str], *, conf: Path, output: Path | None = None) -> Made:
    """Measure the step times of the run that the overrides describe and write them.

    Each value is the median over ROUNDS visits, for which all sizes take turns, of the mean of steps in a row, by the trainer's
    own step and clocks (train + measure): `seconds` of a step that measures nothing, `measured` of one that measures STATISTICS.
    The interval is distribution-free: order statistics of the visits, by the binomial distribution (David and Nagaraja 2003,
    Order Statistics, section 7.1). The first step of a visit is not timed: it pays for the change of size. Without `sizes=` the
    batches are the powers of two up to the largest one that fits, and that one. Raises ValueError.
    """
    ranks.refuse_several("a profile")
    own, cfg = _composed(overrides, conf=conf)
    planned = plan(cfg, cast(DictConfig, HydraConfig.get()))
    chosen = planned.choices
    if chosen["block_scheduler"] != "fixed":
        raise ValueError(f"block_scheduler={chosen['block_scheduler']}: a profile sets the sizes itself; give it blocks=...")
    if "memory" in cfg:
        raise ValueError("memory=limit: a profile is of batches that are not split; leave it out")
    name = f"{chosen['model']}-{chosen['dataset']}-{cfg.precision}-{planned.machine.device}.yaml"
    output = planned.results / "profiles" / name if output is None else output
    check_writable(output)
    steps = Steps(trainer=build(cfg, planned))
    blocks = _blocks(own.get("blocks"), steps.trainer)
    batches, largest, limited_by = _batches(own.get("sizes"), steps, block=blocks[-1])
    measured = _measured(steps.trainer, compiled=cfg.compile)
    shapes = [BatchShape(batch, block) for block in blocks for batch in batches]
    content = _head(planned, largest=largest, limited_by=limited_by, measured=measured)
    content["steps"] = _steps(steps, shapes, measured=bool(measured))
    with replacing(output) as part:
        part.write_text(TITLE + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=200))
    times = [row["seconds"] for row in content["steps"]]
    sizes = f"batches {batches[0]} to {batches[-1]}" + f", blocks {blocks[0]} to {blocks[-1]}" * steps.trainer.task.has_blocks
    took = f"{1e3 * min(times):.3g} to {1e3 * max(times):.3g} ms a step"
    return Made(file=output, said=f"{sizes}, {took}; largest batch {largest}, limited by {limited_by}")


@dataclass(kw_only=True)
class Measuring(SizeScheduler):
    """A fixed size at which every step measures STATISTICS."""

    @property
    def needs(self) -> frozenset[Stat]:
        return STATISTICS

    def propose(self, position: Any) -> float:
        return self.initial


@dataclass(kw_only=True)
class Steps:
    """The steps of a trainer at any size. Its samples do not count: every visit starts at the beginning of the budget."""

    trainer: Trainer
    gauge: Gauge | None = field(default=None, init=False)  # None: peaks of memory cannot be read here
    used: dict[int, float] = field(default_factory=dict, init=False)  # share of memory, by positions

    def __post_init__(self) -> None:
        self.trainer.loggers, self.trainer.evaluate_at, self.trainer.budget = (), (), 1 << 62
        try:
            self.gauge = gauge(self.trainer.device)
        except ValueError:
            self.gauge = None

    def hold(self, shape: BatchShape, *, measuring: bool) -> None:
        """Set the sizes of the next steps."""
        for controller, size in ((self.trainer.batch_size, shape.batch), (self.trainer.block_size, shape.block)):
            controller.scheduler, controller.size, controller.first = Fixed(initial=size), None, None
        if measuring:
            self.trainer.batch_size.scheduler = Measuring(initial=shape.batch)
        self.trainer.physical_batch.limit = None  # of a measuring step that did not fit, which says nothing of a plain one
        self.trainer.samples = 0
        self.trainer.steps.clear()

    def visit(self, shape: BatchShape, count: int, *, measuring: bool) -> float:
        """The mean seconds of `count` steps in a row, train + measure."""
        self.hold(shape, measuring=measuring)
        room = self.room(shape)
        left = 0.0 if self.trainer.task.has_blocks else room
        spent = 0.0
        for at in range(count + 1):
            if not left:  # no step is cut by the end of a text; a new epoch lays out its columns, as in a run
                self.trainer.task.train.restart_epoch()
                left = room
            before = self._spent()
            self.trainer.step()
            left -= 1
            if at:  # the first pays for the change of size
                spent += self._spent() - before
        return spent / count

    def room(self, shape: BatchShape) -> float:
        """Whole steps of this shape in an epoch of a text; inf for images and vectors, whose batches cross its end."""
        stream = self.trainer.task.train
        return stream.epoch_samples // shape.batch // shape.block if self.trainer.task.has_blocks else math.inf

    def peak(self, shape: BatchShape, *, measuring: bool) -> int | None:
        """Bytes at the peak of one step; None where they cannot be read."""
        self._one(shape, measuring=measuring)
        return self.gauge.peak() if self.gauge else None

    def fits(self, shape: BatchShape) -> bool:
        """Whether a plain step of this shape goes through the model at once."""
        # memory grows at most in proportion: a step that might end the process is not tried
        if self.trainer.device.type == "cpu" and self.used and self._share(shape) > SHARE:
            return False
        physical = self.trainer.physical_batch
        before = physical.halvings
        self._one(shape, measuring=False)
        if physical.halvings > before:
            return False
        if self.gauge is not None:
            self.used[shape.padded] = self.gauge.used()
        return True

    def _share(self, shape: BatchShape) -> float:
        """The most that a step of this shape may take of memory, from the largest that fitted."""
        known = max(self.used)
        return self.used[known] * shape.padded / known

    def _one(self, shape: BatchShape, *, measuring: bool) -> None:
        """One step of this shape, whose peak can then be read."""
        self.hold(shape, measuring=measuring)
        if self.trainer.task.has_blocks:
            self.trainer.task.train.restart_epoch()
        if self.gauge is not None:
            self.gauge.reset()
        self.trainer.step()

    def _spent(self) -> float:
        """Training seconds as tables have them."""
        seconds = self.trainer.clock.state_dict()
        return seconds["train"] + seconds["measure"]


def largest_that_fits(fits: Callable[[int], bool], *, limit: int, first: int = 1) -> int:
    """The largest number up to `limit` that fits, by doubling from `first` and bisection; 0 if none up to `first` does."""
    good, bad = 0, first
    while good < bad <= limit and fits(bad):
        good, bad = bad, min(2 * bad, limit) if bad < limit else limit + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def in_turn(visit: Callable[[Cell], float], cells: Sequence[Cell], *, rounds: int = ROUNDS) -> dict[Cell, list[float]]:
    """The values of each cell, a round after the other (A B C A B C): a slow minute of the machine is shared by all."""
    values: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for _ in range(rounds):
        for cell in cells:
            values[cell].append(visit(cell))
    return values


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median and its distribution-free 95 % interval; nan as bounds of fewer than six values."""
    bounds: Any = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return statistics.median(values), float(bounds.low), float(bounds.high)


def _composed(overrides: Sequence[str], *, conf: Path) -> tuple[dict[str, list[int]], DictConfig]:
    """The command's own words, and the configuration of the run, of which Hydra is told as inside `adaptive-bench train`."""
    own: dict[str, list[int]] = {}
    others = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        word, line = override.key_or_group, str(override.input_line)
        if word in ("sizes", "blocks"):
            own[word] = _ascending(word, line.partition("=")[2])
        elif override.package is None and word in ("scheduler", "arm", "sweep"):
            raise ValueError(f"{line}: a profile sets the sizes itself; leave it out")
        else:
            others.append(line)
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", [*others, *HELD], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    return own, cfg


def _ascending(word: str, text: str) -> list[int]:
    parts = text.strip("[]").split(",")
    sizes = [int(part) for part in parts if part.strip().isdecimal()]
    if len(sizes) < len(parts) or min(sizes) < 1 or sizes != sorted({*sizes}):
        raise ValueError(f"{word}={text}: whole numbers from 1 up, ascending, are expected, such as {word}=1,2,4,8")
    if word == "sizes" and len(sizes) < 2:
        raise ValueError(f"{word}={text}: one size is no curve; two or more are expected, such as {word}=1,{max(sizes[0], 2)}")
    return sizes


def _blocks(wanted: list[int] | None, trainer: Trainer) -> list[int]:
    """Those asked for; of texts else the first block, its half and its quarter, which the ends of columns need."""
    if isinstance(trainer.task, Sentences):
        raise ValueError(
            "the sentences of this data set differ in length, so sizes do not decide a step's time; take another one"
        )
    if not trainer.task.has_blocks:
        if wanted:
            raise ValueError(f"blocks={_list(wanted)}: the rows of this data set have no length; leave it out")
        return [1]
    sizes, first = trainer.block_size.sizes, trainer.block_size.peek(trainer.position)
    if wanted is None:
        return sorted({sizes.grant(first / part) for part in (4, 2, 1)})
    _check_sizes("blocks", wanted, sizes, setting="block_size")
    return wanted


def _batches(wanted: list[int] | None, steps: Steps, *, block: int) -> tuple[list[int], int, str]:
    """The batch sizes to measure, the largest that fits at the largest block, and what limits it."""
    sizes, unit = steps.trainer.batch_size.sizes, steps.trainer.batch_size.sizes.multiple_of
    room = steps.trainer.task.train.epoch_samples // block if steps.trainer.task.has_blocks else sizes.largest
    limit, limited_by = min(sizes.largest, room), "the data set"
    if limit < steps.trainer.task.train.epoch_samples // block // unit * unit:
        limited_by = "batch_size.maximum"
    if wanted is not None:
        _check_sizes("sizes", wanted, sizes, setting="batch_size")
        if wanted[-1] > limit:
            raise ValueError(f"sizes={_list(wanted)}: at a block of {block} this text has no step of more than {limit} rows")
        limit, limited_by = wanted[-1], "the sizes asked for"
    # batch norm cannot train on one value: no batch is tried that nobody asked for
    first = -(-(wanted[0] if wanted else sizes.smallest) // unit)
    found = unit * largest_that_fits(lambda size: steps.fits(BatchShape(unit * size, block)), first=first, limit=limit // unit)
    if found < limit // unit * unit:
        limited_by = "memory"
    if wanted is not None and found < wanted[-1]:
        raise ValueError(f"sizes={_list(wanted)}: the largest batch that fits into memory here is {found}; lower the sizes")
    if wanted is None:
        powers = (2**power for power in range(found.bit_length()))
        wanted = sorted({*(sizes.grant(power) for power in powers if sizes.grant(power) <= found), found})
    if len(wanted) < 2:
        raise ValueError(
            f"only the batch size {found} fits here, limited by {limited_by}; two or more are expected for a profile"
        )
    return wanted, found, limited_by


def _check_sizes(word: str, wanted: Sequence[int], sizes: SizeRange, *, setting: str) -> None:
    for size in wanted:
        if sizes.grant(size) != size:
            raise ValueError(
                f"{word}={_list(wanted)}: {size} does not fit; {setting} and the data set allow multiples of {sizes.multiple_of} "
                f"from {sizes.smallest} to {sizes.largest}"
            )


def _measured(trainer: Trainer, *, compiled: bool) -> frozenset[Stat]:
    """STATISTICS; none where this model cannot be measured, as by hooks on compiled code."""
    try:
        trainer.estimator.check(trainer.model, STATISTICS, multiple_of=trainer.batch_size.sizes.multiple_of)
    except ValueError:
        return frozenset()
    return frozenset() if compiled and trainer.estimator.hooked(STATISTICS) else STATISTICS


def _steps(steps: Steps, shapes: Sequence[BatchShape], *, measured: bool) -> list[dict[str, Any]]:
    """The rows of the file, one a shape."""
    cells = [(shape, measuring) for shape in shapes for measuring in (False, True)[: 1 + measured]]
    peaks = {cell: steps.peak(cell[0], measuring=cell[1]) for cell in cells}
    # the second visit, after the kernels have been loaded, says how many steps a visit takes
    rough = in_turn(lambda cell: steps.visit(cell[0], 1, measuring=cell[1]), cells, rounds=2)
    counts = {cell: min(max(1, math.ceil(VISIT / values[-1])), MOST_STEPS) for cell, values in rough.items()}
    values = in_turn(lambda cell: steps.visit(cell[0], counts[cell], measuring=cell[1]), cells)
    return [_row(shape, values, peak=peaks[shape, False], count=counts[shape, False]) for shape in shapes]


def _row(
    shape: BatchShape, values: Mapping[tuple[BatchShape, bool], Sequence[float]], *, peak: int | None, count: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"batch": shape.batch, "block": shape.block}
    for measuring, names in ((False, ("seconds", "low", "high")), (True, ("measured", "measured_low", "measured_high"))):
        if (shape, measuring) in values:
            row |= {name: float(f"{part:.5g}") for name, part in zip(names, median(values[shape, measuring]), strict=True)}
    return row | ({} if peak is None else {"peak_bytes": peak}) | {"steps_timed": ROUNDS * count}


def _head(planned: RunSpec, *, largest: int, limited_by: str, measured: Iterable[Stat]) -> dict[str, Any]:
    """Everything but the step times."""
    settings = {
        name: value
        for name, value in planned.identity.settings.items()
        if (name in ("precision", "compile") or name.partition(".")[0] in ("dataset", "model")) and not name.endswith(".seed")
    }
    machine = asdict(planned.machine)
    return {
        "device": f"{_named(planned.machine.device)}, {planned.machine.threads} threads",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "dataset": planned.choices["dataset"],
        "model": planned.choices["model"],
        "settings": settings,
        "statistics": sorted(map(str, measured)),
        "largest": largest,
        "limited_by": limited_by,
        "interval": INTERVAL,
        "machine": {name: machine[name] for name in ("device", "threads", "allocator")},
        "versions": {name: str(machine[name]) for name in ("python", "torch", "adaptive_bench", "commit", "sources")},
    }


def _named(device: str) -> str:
    """The name of a GPU, or of this machine's processor."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _list(sizes: Iterable[int]) -> str:
    return ",".join(map(str, sizes))
