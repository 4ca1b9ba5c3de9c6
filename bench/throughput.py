"""Images a second of `Trainer.step` against a plain PyTorch script, for every image architecture.

Ours is the loop as the configuration builds it: stream with crop and flip, forward and backward pass, optimiser, trace. The plain
script is what a careful person writes without it: a Dataset of PIL images with torchvision's transforms, a DataLoader with 0 or 2
workers, of which the faster one counts, the same model in torch's default memory format, torch's SGD, an untouched allocator.
Then ours at a large batch against batch 128, and in bf16 against fp32. Both sides have all cores.

Every measurement is a process of its own. The variants of an architecture take turns (A B C A B C ...), so that a drift of the
machine's speed hits all of them; medians over the rounds, of ratios within a round. About 40 minutes on two cores, and to be
run alone:

    python bench/throughput.py               # on random images
    python bench/throughput.py --root DIR    # on CIFAR-10, which DIR/cifar10 holds
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from adaptive_bench.__main__ import conf
from adaptive_bench.datasets.images import read_prepared
from adaptive_bench.datasets.split import Sizes, split
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.machine import available_cores

SHAPE, CLASSES = (32, 32, 3), 10
IMAGES, HELD_OUT = 20_000, 100  # images that are trained on, and of each split that nothing here reads
SEED, LR = 0, 0.01
PREFETCHED = 4  # batches that two workers of a DataLoader hold ready


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of an architecture is timed in one process."""

    batch: int = 128
    steps: int


# batch 128 where a step takes less than about two seconds on two cores
SCALES = {
    "resnet8": Scale(steps=40),
    "resnet20": Scale(steps=16),
    "cnn_small": Scale(steps=100),
    "mobilenet_v3_small": Scale(steps=24),
    "mobilenet_v3_large": Scale(steps=8),
    "efficientnet_b0": Scale(steps=4),
    "vit_tiny": Scale(steps=24),
    "resnet18": Scale(batch=32, steps=4),
    "resnet50": Scale(batch=16, steps=3),
    "densenet121": Scale(batch=16, steps=3),
    "vit_b16": Scale(batch=16, steps=2),
}
SMALL = ("resnet8", "resnet20")  # whose steps are so short that loading the images shows
LEAST_SMALL, LEAST, LEAST_LARGE = 1.20, 0.97, 0.90  # ratios aimed at

OURS, ALONE, WORKERS, BF16, LARGE = "ours", "plain, 0 workers", "plain, 2 workers", "ours, bf16", "ours, batch 1,024"
VARIANTS = {
    OURS: ("--side=ours",),
    ALONE: ("--side=plain", "--workers=0"),
    WORKERS: ("--side=plain", "--workers=2"),
    BF16: ("--side=ours", "--precision=bf16"),
    LARGE: ("--side=ours", "--batch=1024", "--steps=4"),
}

Step = Callable[[], None]
Rates = Mapping[str, Sequence[float]]  # images a second of each variant, a number a round


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as PIL images behind a transform, as torchvision's own data sets serve them."""

    def __init__(self, images: np.ndarray, labels: Sequence[int], transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def ours(chosen: argparse.Namespace, results: str) -> Step:
    """`Trainer.step`, of a run that neither ends nor evaluates while it is timed."""
    overrides = (
        "dataset=cifar10", f"dataset.root={chosen.root}", f"dataset.train_size={IMAGES}", f"dataset.validation_size={HELD_OUT}",
        f"dataset.test_size={HELD_OUT}", f"model={chosen.model}", "scheduler=fixed", f"scheduler.initial={chosen.batch}",
        f"optimizer.lr={LR}", f"precision={chosen.precision}", f"seed={SEED}", "epochs=1", "device=cpu", "progress=false",
        f"results={results}",
    )  # fmt: skip
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    trainer = experiment(cfg)
    assert trainer.batch_size.peek(trainer.position) == chosen.batch
    return trainer.step


def plain(chosen: argparse.Namespace) -> Step:
    """The script without us, on the images that `ours` trains on."""
    torch.set_num_threads(available_cores())
    torch.manual_seed(SEED)
    (images, labels), test = read_prepared("cifar10", root=chosen.root, shape=SHAPE, classes=CLASSES)
    sizes = Sizes(train=IMAGES, validation=HELD_OUT, test=HELD_OUT)
    trained, *_ = split(sizes, available=len(labels), available_test=len(test[1]), seed=SEED)
    colours = OmegaConf.load(conf() / "dataset" / "cifar10.yaml")
    augmented = transforms.Compose(
        [
            transforms.RandomCrop(SHAPE[0], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(list(colours.mean), list(colours.std)),
        ]
    )
    loader = DataLoader(
        Pictures(images[trained].numpy(), labels[trained].tolist(), augmented),
        batch_size=chosen.batch,
        shuffle=True,
        drop_last=True,
        num_workers=chosen.workers,
        persistent_workers=chosen.workers > 0,
    )
    architecture = OmegaConf.load(conf() / "model" / f"{chosen.model}.yaml")
    model = instantiate(architecture, inputs=(SHAPE[2], *SHAPE[:2]), outputs=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batches = iter(loader)

    def step() -> None:
        pixels, targets = next(batches)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16) if chosen.precision == "bf16" else nullcontext():
            loss = F.cross_entropy(model(pixels), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def images_a_second(chosen: argparse.Namespace) -> float:
    """One measurement in this process. Raises ValueError if it would take more than one epoch."""
    # so many that a DataLoader's workers are as far ahead when the clock starts as when it stops
    warm_up = max(2, chosen.steps // 4)
    needed = (warm_up + chosen.steps + PREFETCHED) * chosen.batch
    if needed > IMAGES:
        raise ValueError(f"--steps={chosen.steps} --batch={chosen.batch}: {needed} images, at most {IMAGES} are expected")
    with tempfile.TemporaryDirectory() as results:
        step = ours(chosen, results) if chosen.side == "ours" else plain(chosen)
        for _ in range(warm_up):
            step()
        start = time.perf_counter()
        for _ in range(chosen.steps):
            step()
        images: int = chosen.steps * chosen.batch
        return images / (time.perf_counter() - start)


def take_turns(model: str, *, rounds: int, root: str) -> Rates:
    """Every variant of an architecture, each in a process of its own: fresh buffers, fresh threads."""
    scale = SCALES[model]
    command = [sys.executable, __file__, "one", f"--model={model}", f"--root={root}"]
    command += [f"--batch={scale.batch}", f"--steps={scale.steps}"]  # which a variant may replace
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS if name != LARGE or model in SMALL}
    for _ in range(rounds):
        for name, taken in rates.items():
            done = subprocess.run([*command, *VARIANTS[name]], stdout=subprocess.PIPE, text=True, check=True)
            taken.append(float(done.stdout))
    return rates


def show(
    console: Console, title: str, measured: Mapping[str, Rates], *, first: str, others: Sequence[str], limit: float | None
) -> None:
    """A table of `first` against the faster of `others`; nothing without architectures."""
    if not measured:
        return
    table = Table(title=title)
    table.add_column("architecture", no_wrap=True)
    for header in ("batch", first, *others, "ratio", "lowest to highest", "limit", ""):
        table.add_column(header)
    for model, rates in measured.items():
        medians = {name: statistics.median(rates[name]) for name in (first, *others)}
        fastest = max(others, key=medians.__getitem__)
        ratios = [one / other for one, other in zip(rates[first], rates[fastest], strict=True)]
        ratio = statistics.median(ratios)
        aim = ("", "") if limit is None else (f"{limit:.2f}", "below" if ratio < limit else "")
        speeds = [f"{median:,.{0 if median >= 100 else 1}f}" for median in medians.values()]
        span = f"{min(ratios):.3f} to {max(ratios):.3f}"
        table.add_row(model, str(SCALES[model].batch), *speeds, f"{ratio:.3f}", span, *aim)
    console.print(table)


def native_bf16() -> str:
    """Whether this CPU multiplies bf16 numbers itself, as far as Linux says so."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if flags is None:
        return "unknown whether the CPU has native bf16"
    found = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    return f"native bf16: {', '.join(found)}" if found else "no native bf16"


def compare(chosen: argparse.Namespace, root: str) -> None:
    """Measure the chosen architectures and print a table of each part as soon as it is complete."""
    console, measured = Console(), dict[str, Rates]()
    under = f"torch {torch.__version__}, threads {available_cores()}, {native_bf16()}"
    console.print(f"images a second, medians of {chosen.rounds} rounds; {under}")

    def measure(models: Sequence[str]) -> dict[str, Rates]:
        for model in models:
            print(f"measuring {model} ...", file=sys.stderr)
            measured[model] = take_turns(model, rounds=chosen.rounds, root=root)
        return {model: measured[model] for model in models}

    small = measure([model for model in chosen.only if model in SMALL])
    against, plains = "fp32, against the faster plain script", (ALONE, WORKERS)
    show(console, against, small, first=OURS, others=plains, limit=LEAST_SMALL)
    show(console, "fp32, a large batch", small, first=LARGE, others=(OURS,), limit=LEAST_LARGE)
    rest = measure([model for model in chosen.only if model not in SMALL])
    show(console, against, rest, first=OURS, others=plains, limit=LEAST)
    show(console, "bf16 against fp32", measured, first=BF16, others=(OURS,), limit=None)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder that holds cifar10/; without it random images are trained on")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(SCALES)}")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.set_defaults(side=None)
    one = parser.add_subparsers(metavar="").add_parser("one", help="a single measurement: prints images a second")
    one.add_argument("--side", choices=("ours", "plain"), required=True)
    one.add_argument("--model", choices=tuple(SCALES), required=True)
    one.add_argument("--batch", type=int, default=128)
    one.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    one.add_argument("--steps", type=int, required=True, help="that are timed; a quarter as many, at least 2, go before")
    one.add_argument("--workers", type=int, default=0, help="of the plain side's DataLoader")
    one.add_argument("--root", required=True, help="folder that holds cifar10/")
    chosen = parser.parse_args()
    chosen.only = list(SCALES) if chosen.only is None else chosen.only.split(",")
    if unknown := [name for name in chosen.only if name not in SCALES]:
        parser.error(f"--only: {', '.join(unknown)}: names out of {', '.join(SCALES)} are expected")
    if chosen.rounds < 1:
        parser.error(f"--rounds={chosen.rounds}: a whole number from 1 up is expected")
    return chosen


def write_random_images(root: Path) -> None:
    folder, generator = root / "cifar10", np.random.default_rng(SEED)
    folder.mkdir()
    for part, count in (("train", IMAGES + HELD_OUT), ("test", HELD_OUT)):
        images = generator.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=generator.integers(0, CLASSES, count))


def main() -> None:
    chosen = parsed()
    if chosen.side is not None:
        print(images_a_second(chosen))
    elif chosen.root is not None:
        compare(chosen, chosen.root)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_random_images(Path(folder))
            compare(chosen, folder)


if __name__ == "__main__":
    main()
