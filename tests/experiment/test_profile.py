"""Profiles of step times: their order, their bookkeeping and their file. No test here believes a second."""

import itertools
from types import SimpleNamespace
from typing import cast

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.analysis import read_profile
from adaptive_bench.datasets.classification import Classification
from adaptive_bench.experiment.build import build, plan
from adaptive_bench.experiment.profile import STATISTICS, Steps, _composed, in_turn, largest_that_fits, median
from adaptive_bench.sizes import BatchShape

IMAGES = ["dataset.train_size=60", "dataset.validation_size=20", "dataset.test_size=20", "model=mlp", "threads=1"]
TEXT = ["dataset=markov_text", "model=lstm_small", "dataset.train_size=401", "dataset.validation_size=100",
        "dataset.test_size=100", "block_scheduler.initial=8", "threads=1"]  # fmt: skip


def steps_of(*overrides):
    _, cfg = _composed(overrides, conf=conf())
    return Steps(trainer=build(cfg, plan(cfg, cast(DictConfig, HydraConfig.get()))))


@pytest.mark.parametrize("limit", [1, 2, 63, 64, 100])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 37, 64, 99, 100])
def test_the_largest_that_fits_is_found_by_doubling_and_bisection(limit, most):
    asked = []
    found = largest_that_fits(lambda size: asked.append(size) or size <= most, limit=limit)
    assert found == min(most, limit)
    assert max(asked) <= limit
    assert len(asked) == len({*asked}) <= 14


def test_nothing_below_the_first_size_is_tried_unless_that_does_not_fit():
    asked = []
    assert largest_that_fits(lambda size: asked.append(size) or size <= 100, first=16, limit=256) == 100
    assert min(asked) == 16
    assert largest_that_fits(lambda size: size <= 5, first=16, limit=256) == 5


def test_sizes_take_turns():
    order = []
    values = in_turn(lambda cell: order.append(cell) or float(len(order)), "ABC", rounds=2)
    assert order == [*"ABCABC"]
    assert values == {"A": [1, 4], "B": [2, 5], "C": [3, 6]}


def test_the_interval_of_a_median_is_that_of_order_statistics():
    # with seven values P(all on one side of the median) = 2 / 2^7 = 1.6 %: their least and largest; with nine the second ones
    assert median([5, 1, 4, 2, 7, 3, 6]) == (4, 1, 7)
    assert median(range(1, 10)) == (5, 2, 8)


def test_a_visit_times_its_steps_but_the_first_and_moves_no_weight(monkeypatch):
    steps = steps_of(*IMAGES)
    readings = itertools.count()
    monkeypatch.setattr("adaptive_bench.execution.clock.time", SimpleNamespace(perf_counter=lambda: float(next(readings))))
    before = [parameter.detach().clone() for parameter in steps.trainer.model.parameters()]
    plain = steps.visit(BatchShape(8), 5, measuring=False)
    assert steps.trainer.samples == 6 * 8
    # a second between two readings of the clock: each step has as many of them, whatever its size
    assert plain == steps.visit(BatchShape(60), 2, measuring=False)
    assert [row["batch_size"] for row in steps.trainer.steps] == [60] * 3
    assert steps.visit(BatchShape(8), 5, measuring=True) > plain
    assert all((now - then).abs().max() < 1e-6 for now, then in zip(steps.trainer.model.parameters(), before, strict=True))


def test_no_step_of_a_visit_is_cut_by_the_end_of_a_text():
    steps = steps_of(*TEXT)
    for shape in (BatchShape(20, 8), BatchShape(50, 8), BatchShape(4, 32)):  # 2, 1 and 3 whole steps an epoch of 400 tokens
        steps.visit(shape, 7, measuring=False)
        assert [(row["batch_size"], row["block_size"], row["cut"]) for row in steps.trainer.steps] == [
            (shape.batch, shape.block, False)
        ] * 8


def test_a_profile_is_written_and_read(cli, tmp_path):
    path = tmp_path / "made" / "p.yaml"
    code, out, err = cli("profile", *IMAGES, "sizes=2,8,50", "-o", str(path))
    assert (code, err) == (0, "")
    assert str(path) in out
    found, content = read_profile(path), OmegaConf.to_container(OmegaConf.load(path))
    assert (found.dataset, found.model, found.batches, found.blocks) == ("digits", "mlp", (2, 8, 50), (1,))
    assert found.settings["model.hidden"] == [64, 64]
    assert found.statistics == {*map(str, STATISTICS)}
    assert found.measured is not None
    assert {*content["versions"]} >= {"torch", "python"}
    assert all(row["low"] <= row["seconds"] <= row["high"] for row in content["steps"])
    assert (content["largest"], content["limited_by"]) == (50, "the sizes asked for")
    # the profile is one of the runs with the same words
    assert cli("train", *IMAGES, "epochs=1", "scheduler.initial=8", "results=r", "progress=false")[0] == 0
    code, out, _ = cli("tables", "r", "--device", str(path), "--format", "csv")
    assert code == 0
    assert "replayed_training_seconds_mean" in out


def test_a_model_that_cannot_train_on_one_example_is_measured_at_the_sizes_asked_for(cli, tmp_path):
    # batch norm of one image, of which one pixel is left
    code, out, err = cli("profile", *IMAGES, "model=efficientnet_cpu", "sizes=2,4", "-o", str(tmp_path / "p.yaml"))
    assert (code, err) == (0, "")
    assert "batches 2 to 4" in out


@pytest.mark.slow
def test_without_sizes_the_powers_of_two_up_to_what_the_data_set_has(cli, tmp_path):
    code, out, _ = cli("profile", *TEXT, "batch_size.minimum=16", "-o", str(tmp_path / "p.yaml"))
    assert code == 0
    found = read_profile(tmp_path / "p.yaml")
    assert (found.batches, found.blocks) == ((16, 32, 50), (2, 4, 8))  # 400 tokens have 50 columns of 8
    assert "largest batch 50, limited by the data set" in out


@pytest.fixture
def small_memory(monkeypatch):
    """A device whose memory holds 20 rows."""
    loss = Classification.loss

    def limited(self, model, batch):
        if len(batch) > 20:
            raise MemoryError
        return loss(self, model, batch)

    monkeypatch.setattr(Classification, "loss", limited)


def test_the_largest_batch_is_the_last_that_memory_holds(cli, tmp_path, small_memory):
    code, out, _ = cli("profile", *IMAGES, "-o", str(tmp_path / "p.yaml"))
    assert code == 0
    assert read_profile(tmp_path / "p.yaml").batches == (1, 2, 4, 8, 16, 20)
    assert "largest batch 20, limited by memory" in out


def test_sizes_that_memory_does_not_hold_are_refused(cli, tmp_path, small_memory):
    code, _, err = cli("profile", *IMAGES, "sizes=8,40", "-o", str(tmp_path / "p.yaml"))
    assert code == 1
    assert err == ("adaptive-bench: error: sizes=8,40: the largest batch that fits into memory here is 20; lower the sizes\n")
    assert not (tmp_path / "p.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sizes=8"], "sizes=8: one size is no curve; two or more are expected, such as sizes=1,8"),
        (["sizes=8,4"], "sizes=8,4: whole numbers from 1 up, ascending, are expected, such as sizes=1,2,4,8"),
        (["sizes=0,4"], "sizes=0,4: whole numbers from 1 up, ascending, are expected"),
        (["sizes=a,4"], "sizes=a,4: whole numbers from 1 up, ascending, are expected"),
        (["sizes=4,100"], "sizes=4,100: 100 does not fit; batch_size and the data set allow multiples of 1 from 1 to 60"),
        (
            ["sizes=4,9", "batch_size.multiple_of=4"],
            "9 does not fit; batch_size and the data set allow multiples of 4 from 4 to 60",
        ),
        (["blocks=4"], "blocks=4: the rows of this data set have no length; leave it out"),
        (["scheduler=gns"], "scheduler=gns: a profile sets the sizes itself; leave it out"),
        (["sweep=demo"], "sweep=demo: a profile sets the sizes itself; leave it out"),
        (["memory=limit"], "memory=limit: a profile is of batches that are not split; leave it out"),
        (["batch_size.maximum=1"], "only the batch size 1 fits here, limited by batch_size.maximum; two or more are expected"),
        (["modle=mlp"], "Could not override 'modle'"),
        (["-o", "/dev/null/p.yaml"], "/dev/null/p.yaml cannot be written"),
    ],
)
def test_words_that_do_not_fit_are_refused_in_one_line(cli, words, said):
    code, out, err = cli("profile", *IMAGES, *words)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


def test_blocks_and_sizes_that_a_text_does_not_have_are_refused(cli):
    code, _, err = cli("profile", *TEXT, "sizes=8,64")
    assert code == 1
    assert "sizes=8,64: at a block of 8 this text has no step of more than 50 rows" in err
    code, _, err = cli("profile", *TEXT, "blocks=8,1024")
    assert code == 1
    assert "blocks=8,1024: 1024 does not fit; block_size and the data set allow multiples of 1 from 1 to 400" in err


def test_sentences_have_no_profile(cli):
    code, _, err = cli("profile", "dataset=lengths", "model=gpt_mini", "threads=1")
    assert code == 1
    assert "the sentences of this data set differ in length" in err
