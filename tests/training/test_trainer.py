import math
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from hydra.utils import instantiate

from adaptive_bench.__main__ import conf
from adaptive_bench.analysis import read, report
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.build import build, plan
from adaptive_bench.sizes import Position
from adaptive_bench.training.trainer import Diverged
from tests.conftest import composed

TRACE = [
    "step",
    "samples",
    "epoch",
    "seconds_train",
    "seconds_measure",
    "seconds_evaluate",
    "lr",
    "loss",
    "batch_size",
    "batch_size_wished",
    "physical_batch",
    "block_size",
    "batch_size_granted",
    "block_size_granted",
    "padded_samples",
    "cut",
    "state_reset",
    "skipped",
]
# smith and seesaw are refused without their own LR rule
SCHEDULERS = sorted({path.stem for path in (conf() / "scheduler").glob("*.yaml")} - {"smith", "seesaw"})


def trainer_of(tmp_path, *overrides):
    return experiment(composed(f"results={tmp_path}", *overrides))


def trace_of(folder) -> pd.DataFrame:
    return pd.read_parquet(folder / "trace.parquet")


# each scheduler is trained under one of these in every test run, and under all of them by `make test-all`
LR_SCHEDULES = {
    "constant": ("lr_schedule=constant",),
    "cosine": ("lr_schedule=cosine",),
    "multistep": ("lr_schedule=multistep", "lr_schedule.milestones=[0.5,1.2]"),
    "warm": ("lr_schedule=cosine", "lr_schedule.warmup=1"),
}
PAIRS = [
    pytest.param(scheduler, schedule, marks=() if (row - column) % len(LR_SCHEDULES) == 0 else pytest.mark.slow)
    for row, scheduler in enumerate(SCHEDULERS)
    for column, schedule in enumerate(LR_SCHEDULES)
]


@pytest.mark.parametrize(("scheduler", "schedule"), PAIRS)
def test_every_scheduler_spends_exactly_its_budget_on_one_lr_curve(trained, using, scheduler, schedule):
    """Without an LR rule the learning rate is the same function of samples for every scheduler."""
    chosen = LR_SCHEDULES[schedule]
    curve = instantiate(composed(*chosen).lr_schedule)
    trace = trace_of(trained("lr_rule=none", *using(scheduler, 24), "epochs=2.3", "model.norm=group", *chosen))
    assert list(trace)[: len(TRACE)] == TRACE
    assert trace["samples"].iloc[-1] == trace["batch_size"].sum() == 460
    assert (trace["samples"] == trace["batch_size"].cumsum()).all()
    assert trace["step"].tolist() == list(range(1, len(trace) + 1))
    before = trace["samples"] - trace["batch_size"]
    assert trace["lr"].tolist() == [0.1 * curve(Position(int(samples), 460, 200)) for samples in before]
    assert schedule == "constant" or len(set(trace["lr"])) > 1


@pytest.mark.parametrize(("rule", "power"), [("none", 0), ("linear", 1), ("sqrt", 0.5), ("smith", 1), ("seesaw", 0.5)])
def test_an_lr_rule_follows_the_size(trained, rule, power):
    trace = trace_of(trained(f"lr_rule={rule}", "scheduler=exponential", "scheduler.initial=10", "scheduler.factor=3"))
    whole = trace[trace["batch_size"].isin([10, 30])]
    assert set(whole["batch_size"]) == {10, 30}
    for size, lr in zip(whole["batch_size"], whole["lr"], strict=True):
        assert lr == pytest.approx(0.1 * (size / 10) ** power)


def test_the_batch_cut_by_the_budget_does_not_change_the_lr(trained):
    trace = trace_of(trained("lr_rule=linear", "scheduler.initial=150", "epochs=1"))
    assert trace["batch_size"].tolist() == [150, 50]
    assert trace["lr"].tolist() == [0.1, 0.1]


def test_the_clocks_add_up_to_the_wall_clock(tmp_path):
    trainer = trainer_of(tmp_path, "scheduler=divebatch", "scheduler.initial=16", "epochs=6", "checkpoint_every=1")
    trainer.step()  # imports and first-time set-up happen once and are nobody's
    clocked, start = sum(trainer.clock.seconds.values()), time.perf_counter()
    trainer.run()
    wall = time.perf_counter() - start
    assert sum(trainer.clock.seconds.values()) - clocked == pytest.approx(wall, rel=0.02)
    assert all(seconds > 0 for seconds in trainer.clock.seconds.values())


def test_every_epoch_takes_time(trained):
    trace = trace_of(trained("scheduler.initial=16", "epochs=4"))
    per_epoch = trace.groupby((trace["samples"] - 1) // 200)["seconds_train"].max().diff().dropna()
    assert (per_epoch > 0).all()


def test_evaluations_fall_on_the_grid_and_test_comes_once_at_the_end(trained):
    rows = pd.read_parquet(trained("scheduler.initial=16", "evaluate_every=0.5") / "evaluations.parquet")
    assert rows["split"].tolist() == ["validation"] * 5 + ["test"]
    assert rows["samples"].tolist() == [0, 112, 208, 304, 400, 400]  # the first step at or behind 0, 100, 200, 300, 400


@pytest.mark.parametrize(
    ("every", "samples"),
    [
        ("[0.1,0.5,0.52,1.7,9]", [0, 32, 112, 352, 400]),  # 20, 100 and 104 (one step passes both), 340; the end of the budget
        ("{first:0.1,factor:3,largest:0.5}", [0, 32, 64, 160, 272, 368, 400]),  # 20, 60, 160, 260, 360: never 100 samples apart
    ],
)
def test_evaluations_follow_the_first_step_at_or_behind_each_point(trained, every, samples):
    rows = pd.read_parquet(trained("scheduler.initial=16", f"evaluate_every={every}") / "evaluations.parquet")
    assert rows[rows["split"] == "validation"]["samples"].tolist() == samples


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    trainer = trainer_of(tmp_path, "optimizer.lr=1e30", "model.norm=none", "scheduler.initial=16")
    with pytest.raises(Diverged, match=r"loss became (nan|inf)"):
        trainer.run()
    assert 0 < len(trainer.steps) < 25


def test_gradients_are_clipped_to_their_norm(tmp_path):
    trainer = trainer_of(
        tmp_path,
        "max_grad_norm=0.01",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
        "scheduler.initial=16",
    )
    before = torch.cat([parameter.detach().flatten().clone() for parameter in trainer.model.parameters()])
    trainer.step()
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_block_is_rows_of_one_position_for_images(trained):
    trace = trace_of(trained())
    assert (trace["block_size"] == 1).all()
    assert (trace["physical_batch"] == trace["batch_size"]).all()


def test_what_the_scheduler_wished_stands_beside_what_it_got(trained):
    trace = trace_of(trained("scheduler=exponential", "scheduler.initial=20.4", "scheduler.factor=100", "batch_size.maximum=64"))
    assert trace["batch_size_wished"].iloc[0] == 20.4
    assert trace["batch_size"].iloc[0] == 20
    assert trace["batch_size_wished"].iloc[-1] == pytest.approx(2040)
    assert trace["batch_size"].max() == 64


def test_nothing_is_measured_once_the_size_has_arrived(trained):
    trace = trace_of(
        trained("scheduler=divebatch", "scheduler.initial=16", "scheduler.delta=1000", "batch_size.maximum=64", "epochs=3")
    )
    measured = trace["mean_sample_sq_norm"].notna()
    assert measured[trace["samples"] <= 200].all()
    assert not measured[trace["batch_size"] == 64].any()
    assert math.isnan(trace["epoch_grad_sq_norm"].iloc[-1])


def test_a_run_that_diverges_at_once_still_has_its_tables(tmp_path, trained):
    folder = trained("optimizer.lr=1e30", "model.norm=none", "scheduler.initial=200", "epochs=1")
    assert pd.read_parquet(folder / "record.parquet")["status"].item() == "diverged"
    folder = trained("dataset.std=[1e-37]")
    assert pd.read_parquet(folder / "record.parquet")["status"].item() == "diverged"
    assert list(trace_of(folder)) == TRACE
    assert len(trace_of(folder)) == 0
    page = report(read(tmp_path), tmp_path / "report.html")
    assert "diverged" in page.read_text()


def test_a_run_resumed_under_other_conditions_says_so(tmp_path):
    cfg = composed(f"results={tmp_path}", "scheduler.initial=50", "checkpoint_every=0.5")
    first = build(cfg, plan(cfg, cfg.hydra))
    first.checkpoint.parent.mkdir(parents=True)
    first.step()
    first.step()
    first.save()
    there = plan(cfg, cfg.hydra)
    second = build(cfg, replace(there, machine=replace(there.machine, threads=7)))
    second.resume()
    assert len(second.timed_under) == 2
    assert "threads 7" in second.timed_under[1]


def test_momentum_keeps_its_half_life_in_samples(tmp_path):
    half_life = ["momentum_half_life=100", "scheduler=exponential", "scheduler.initial=50", "scheduler.factor=4"]
    trainer = trainer_of(tmp_path, *half_life, "scheduler.interval=0.5")
    group = trainer.update.optimizer.param_groups[0]
    momenta = []
    while trainer.samples < 300:
        trainer.step()
        momenta.append((trainer.steps[-1]["batch_size"], group["momentum"]))
    assert momenta == [(50, 0.5**0.5), (50, 0.5**0.5), (200, 0.25)]


def test_momentum_half_life_sets_adams_first_beta(tmp_path):
    trainer = trainer_of(tmp_path, "momentum_half_life=100", "optimizer=adamw", "scheduler.initial=100")
    trainer.step()
    assert trainer.update.optimizer.param_groups[0]["betas"] == (0.5, 0.999)


def test_the_oracle_sees_the_whole_training_set_at_fixed_weights(tmp_path):
    trainer = trainer_of(
        tmp_path,
        "scheduler=divebatch_oracle",
        "scheduler.initial=64",
        "estimator=per_sample",
        "estimator.fraction=1",
        "model=mlp",
        "epochs=3",
    )
    while trainer.samples < 200:
        trainer.step()
    one_by_one = []
    for index in range(200):
        batch = trainer.task.train.plain(torch.tensor([index]))
        trainer.model.zero_grad()
        trainer.task.loss(trainer.model, batch).backward()
        one_by_one.append(torch.cat([parameter.grad.flatten().double() for parameter in trainer.model.parameters()]))
    gradients = torch.stack(one_by_one)
    expected = 200 * gradients.square().sum() / gradients.sum(0).square().sum()
    assert trainer.steps[-1]["diversity_bound"] == pytest.approx(expected.item(), rel=1e-4)
    assert trainer.batch_size.scheduler.size == pytest.approx(max(64, 0.1 * expected.item()), rel=1e-4)


def test_the_oracles_pass_leaves_no_trace_and_is_charged(trained):
    settings = ["epochs=2", "scheduler.initial=64", "dataset.crop=1"]
    plain = trained(*settings)
    oracle = trained(*settings, "scheduler=divebatch_oracle", "scheduler.delta=1e-9", "scheduler.interval=1")
    weights = [pd.read_parquet(folder / "record.parquet")["weights"].item() for folder in (plain, oracle)]
    assert weights[0] == weights[1]
    trace = trace_of(oracle)
    assert trace["diversity_bound"].notna().sum() == 1  # behind the first epoch; behind the last one nothing would follow
    surveyed = trace.index[trace["diversity_bound"].notna()][0]
    assert trace["seconds_measure"].diff()[surveyed] > 10 * trace["seconds_measure"].diff().median()


def test_the_trace_shows_the_reasons(trained):
    trace = trace_of(trained("scheduler=gns", "scheduler.initial=20", "epochs=3", "model.norm=group"))
    reasons = ["batch_noise_scale", "batch_grad_sq_norm_average", "batch_grad_variance_error", "batch_cooling"]
    assert set(reasons) <= set(trace)
    assert trace["batch_noise_scale"].isna().tolist()[:2] == [True, False]
    assert trace["batch_cooling"].iloc[0] == 1  # epoch to wait from the start on
    assert (trace["batch_size"][trace["samples"] <= 200] == 20).all()


def test_measuring_once_in_so_many_samples(trained):
    trace = trace_of(trained("scheduler=gns", "scheduler.initial=20", "scheduler.measure_every=100", "batch_size.maximum=20"))
    assert trace["grad_variance"].notna().tolist() == [True, False, False, False, False] * 4
