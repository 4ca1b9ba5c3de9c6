"""Every image model under rules of every kind: three steps, each of another size, through the configuration of a run."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.assemble import experiment
from tests.conftest import composed
from tests.datasets.test_images import write

SIZES = (2, 4, 3)  # an epoch has 4 images: the second and the third step end one

# the text models and those of vectors have neither a norm to choose nor patches
SETTINGS = {file.stem: list(OmegaConf.load(file)) for file in sorted((conf() / "model").glob("*.yaml"))}
TWINS = {"mobilenet_v3", "mobilenet_v3_small_cpu"}  # of others here, but for the momentum of a running average
MODELS = [name for name, keys in SETTINGS.items() if {"norm", "patch"} & set(keys) and name not in TWINS]

# what makes a rule look at every step, or at the end of every epoch; and one of its signals that then is a number
RULES = {
    "fixed": ([], None),
    "divebatch": (["scheduler.interval=1", "scheduler.monotone=false"], "diversity"),
    "deba": ([], "loss_variation"),
    "gns": ([], "grad_sq_norm_average"),
}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    """A CIFAR-10 of eight made-up images."""
    root = tmp_path_factory.mktemp("data")
    write(root, images=np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    return root


LARGE = {"resnet18", "resnet50", "densenet121", "vit_b16"}  # a CPU without bf16 takes a minute for three steps of one


def is_slow(model: str, precision: str, place: int) -> bool:
    return place % len(RULES) != 0 or (model in LARGE and precision == "bf16")


# every model in fp32 and the small ones in bf16, each time under another rule; `make test-all` trains the full cross
CASES = [
    pytest.param(model, rule, precision, marks=pytest.mark.slow if is_slow(model, precision, row + shift - column) else ())
    for row, model in enumerate(MODELS)
    for column, rule in enumerate(RULES)
    for shift, precision in enumerate(["fp32", "bf16"], start=1)
]


@pytest.mark.parametrize(("model", "rule", "precision"), CASES)
def test_three_steps_of_three_sizes(tmp_path, prepared, model, rule, precision):
    overrides, signal = RULES[rule]
    cfg = composed(
        "dataset=cifar10", f"dataset.root={prepared}", "dataset.train_size=4", "dataset.validation_size=2",
        "dataset.test_size=2", f"model={model}", f"scheduler={rule}", "scheduler.initial=2", *overrides,
        f"precision={precision}", "batch_size.cooldown=0", "epochs=5", "optimizer.lr=0.01", f"results={tmp_path}",
        *(["model.patch=16"] if model == "vit_b16" else []),  # 4 patches instead of 64: the layers are the same
    )  # fmt: skip
    trainer = experiment(cfg)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    for size in SIZES:
        # a range of one size leaves the rule no other, and it goes on looking
        trainer.batch_size.sizes = replace(trainer.batch_size.sizes, minimum=size, maximum=size)
        trainer.step()
    steps = trainer.steps
    assert [row["batch_size"] for row in steps] == list(SIZES)
    assert all(math.isfinite(row["loss"]) for row in steps)
    assert trainer.samples == sum(SIZES)
    for parameter, first in zip(trainer.model.parameters(), before, strict=True):
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()
        assert not torch.equal(parameter, first)
    # the border of an epoch is where DEBA looks; the others look at every step
    for stat in trainer.needs:
        assert [math.isfinite(row[stat]) for row in steps] == [rule != "deba", True, True]
    assert signal is None or math.isfinite(trainer.batch_size.signals(trainer.position)[signal])
    assert len(trainer.evaluations) == 2
    assert all(math.isfinite(row["loss"]) for row in trainer.evaluations)
