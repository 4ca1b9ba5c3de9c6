"""The sweeps of the papers' size: a real step of each, with the whole model, and what they would cost."""

from pathlib import Path

import numpy as np
import pytest

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.catalogue import remark

# a batch is smaller where one of the sweep's own takes more memory or minutes than a CPU has
IMAGES = {
    "divebatch_cifar10": (),
    "divebatch_cifar100": ("lr_schedule.milestones=[0.5]", "lr_schedule.warmup=0", "lr_schedule.start=0.1"),
    "divebatch_tiny_imagenet": ("scheduler.initial=32", "lr_schedule.milestones=[0.5]"),
    "deba_cifar10": ("model=resnet18,efficientnet_b0,mobilenet_v3", "scheduler.initial=32"),
    "deba_cifar100": ("model=densenet121", "scheduler.initial=8"),
    "compare_architectures": ("model=resnet50,vit_b16", "scheduler.initial=8"),
}
TEXTS = ("ptb_table1", "ptb_ablation", "ptb_zaremba_medium")


def write_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name, side, classes in (("cifar10", 32, 10), ("cifar100", 32, 100), ("tiny_imagenet", 64, 200)):
        (root / name).mkdir(parents=True)
        for part in ("train", "test"):
            images = rng.integers(0, 256, (200, side, side, 3), dtype=np.uint8)
            np.savez(root / name / f"{part}.npz", images=images, labels=rng.integers(0, classes, 200))


def write_texts(root: Path) -> None:
    """With the vocabulary of Penn Treebank, 10,000 words."""
    (root / "ptb").mkdir(parents=True)
    words = [f"w{at}" for at in range(9_999)]
    for part in ("train", "valid", "test"):
        lines = [" ".join(words[at : at + 20]) for at in range(0, len(words), 20)]
        (root / "ptb" / f"ptb.{part}.txt").write_text("".join(f" {line} \n" for line in lines))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sweep", [*IMAGES, *TEXTS])
def test_a_step_at_full_size(cli, tmp_path, sweep):
    if sweep in IMAGES:
        write_images(tmp_path / "data")
        batch = next((word.partition("=")[2] for word in IMAGES[sweep] if word.startswith("scheduler.initial")), "128")
        words = [*IMAGES[sweep], f"dataset.train_size={batch}", "arm=fixed_small"]
    else:
        write_texts(tmp_path / "data")
        arm = "zaremba_medium" if "zaremba" in sweep else "block_16" if sweep == "ptb_table1" else "block_start_8"
        words = ["dataset.train_size=1400", f"arm={arm}"]
    sizes = ["dataset.validation_size=8", "dataset.test_size=8"] if sweep in IMAGES else ["dataset.validation_size=200"]
    code, _, err = cli(
        *("train", f"sweep={sweep}", f"dataset.root={tmp_path / 'data'}", "seed=0", "epochs=1", "evaluate_every=1"),
        *(*words, *sizes, f"results={tmp_path / 'results'}", "progress=false"),
    )
    assert code == 0
    assert "error" not in err
    runs = sum(word.count(",") for word in words if word.startswith("model=")) + 1
    assert err.count("done: ") == runs
    assert remark(conf() / "sweep" / f"{sweep}.yaml", "Cost").startswith("about ")


def test_plan_says_what_a_whole_sweep_costs(cli, tmp_path):
    write_images(tmp_path)
    words = ("arm=fixed_small", "seed=0", "dataset.train_size=50", "dataset.validation_size=10", "dataset.test_size=10")
    code, out, _ = cli("plan", "sweep=divebatch_cifar10", f"dataset.root={tmp_path}", *words, f"results={tmp_path / 'r'}")
    assert code == 0
    assert "The whole sweep: about 55 GPU hours, 60 runs" in out
