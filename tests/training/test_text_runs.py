"""Whole runs on a text: rests, blocks and columns that change, and what follows from them."""

import pandas as pd
import pytest

from tests.training.test_trainer import trace_of

SLOTS = ("scheduler", "block_scheduler")

TEXT = ("dataset=markov_text", "model=lstm_small", "dataset.train_size=2002", "epochs=3", "scheduler.initial=8")


def test_the_rest_of_a_text_is_recorded_as_what_it_is(trained):
    trace = trace_of(trained(*TEXT, "scheduler@block_scheduler=exponential", "block_scheduler.factor=2"))
    rests = trace[(trace["block_size"] < trace["block_size_granted"]) | (trace["batch_size"] < trace["batch_size_granted"])]
    assert 3 <= len(rests) < len(trace) / 2
    assert sorted(set(trace["block_size_granted"])) == [32, 64, 128]
    assert (trace["samples"].diff().dropna() == (trace["batch_size"] * trace["block_size"])[1:]).all()
    assert trace["samples"].iloc[-1] == 3 * 2001


def test_a_replay_on_a_text_is_the_same_run(tmp_path, trained):
    common = [*TEXT, "lr_rule=linear", "optimizer.lr=0.05"]
    original = trained(*common, "scheduler=exponential", "scheduler.factor=2", "batch_size.maximum=32")
    replayed = trained(*common[:-3], *common[-2:], "scheduler=replay", f"scheduler.trace={original}", "batch_size.maximum=32")
    columns = ["samples", "lr", "loss", "batch_size", "batch_size_granted", "block_size"]
    pd.testing.assert_frame_equal(trace_of(original)[columns], trace_of(replayed)[columns], check_exact=True)


def test_the_loss_of_a_text_is_per_token_however_it_is_reduced(trained):
    losses = {}
    for reduction in ("mean", "sum_time"):
        trace = trace_of(trained(*TEXT, f"dataset.loss_reduction={reduction}", "optimizer.lr=1e-6"))
        losses[reduction] = trace["loss"].tolist()
    assert losses["mean"] == pytest.approx(losses["sum_time"], rel=1e-3)


def test_divebatch_on_a_text_counts_its_rows(trained):
    trace = trace_of(trained(*TEXT, "scheduler=divebatch", "scheduler.interval=1", "scheduler.delta=1", "batch_size.maximum=62"))
    first = trace[trace["samples"] <= 2001]
    rows, sums = first["batch_size"], (first["batch_size"] * first["mean_sample_sq_norm"]).sum()
    wish = rows.sum() * sums / first["epoch_grad_sq_norm"].iloc[-1]
    assert trace["batch_size_wished"].iloc[len(first)] == pytest.approx(max(8, wish))


def test_the_trace_says_where_columns_were_laid_anew(trained):
    trace = trace_of(
        trained(*TEXT, "scheduler=step", "scheduler.sizes=[12]", "scheduler.milestones=[1.5]", "batch_size.maximum=12")
    )
    changed = trace["batch_size_granted"].diff().fillna(0) != 0
    assert changed.sum() == 1
    begins = trace["samples"].shift(fill_value=0) % 2001 == 0
    assert (trace["state_reset"] == (changed | begins)).all()
    assert trace["state_reset"].sum() == 4


@pytest.mark.parametrize("rule", ["none", "linear"])
def test_with_fixed_tokens_rows_give_way_to_longer_blocks_and_the_learning_rate_stays(trained, rule):
    growing = (
        "scheduler@block_scheduler=exponential", "block_scheduler.factor=2", "block_size.maximum=256", "tokens_per_step=fixed",
        f"lr_rule={rule}",
    )  # fmt: skip
    trace = trace_of(trained(*TEXT, *growing))
    whole = trace[(trace["block_size"] == trace["block_size_granted"]) & (trace["batch_size"] * trace["block_size"] > 128)]
    assert whole.groupby("block_size")["batch_size"].agg(set).to_dict() == {32: {8}, 64: {4}, 128: {2}}
    assert (trace["batch_size_granted"] * trace["block_size_granted"] == 256).all()
    assert set(trace["lr"]) == {0.1}
    assert trace[trace["state_reset"]]["block_size"].tolist() == [32, 64, 128]


def test_with_floating_tokens_a_step_grows_with_the_block_and_the_linear_rule_follows(trained):
    trace = trace_of(trained(*TEXT, "scheduler@block_scheduler=exponential", "block_scheduler.factor=2", "lr_rule=linear"))
    assert (trace["lr"] == 0.1 * trace["block_size_granted"] / 32).all()


def test_a_plateau_of_the_validation_loss_lowers_the_learning_rate(trained):
    folder = trained(*TEXT, "lr_schedule=plateau", "lr_schedule.patience=0", "lr_schedule.threshold=0.5", "evaluate_every=0.5")
    trace, evaluations = trace_of(folder), pd.read_parquet(folder / "evaluations.parquet")
    seen = evaluations[(evaluations["split"] == "validation") & (evaluations["samples"] > 0)]
    assert len(seen) >= 6
    # no evaluation is twice as good as the first: each of the others is a plateau
    expected = [0.1 * 0.1 ** max(0, (seen["samples"] < samples).sum() - 1) for samples in trace["samples"]]
    assert trace["lr"].tolist() == pytest.approx(expected)


def test_a_run_with_fixed_tokens_is_replayed_by_its_rows_and_blocks(trained):
    shrinking = ("scheduler@block_scheduler=exponential", "block_scheduler.factor=0.5", "tokens_per_step=fixed")
    original = trained(*TEXT, *shrinking, "block_size.maximum=256")
    slots = ("scheduler=replay", "scheduler@block_scheduler=replay", "block_scheduler.column=block_size", "batch_size.maximum=32")
    replayed = trained(*(o for o in TEXT if "initial" not in o), *slots, *(f"{slot}.trace={original}" for slot in SLOTS))
    columns = ["samples", "lr", "loss", "batch_size", "batch_size_granted", "block_size", "state_reset"]
    pd.testing.assert_frame_equal(trace_of(original)[columns], trace_of(replayed)[columns], check_exact=True)
    assert trace_of(original)["batch_size_granted"].max() == 32


def test_a_control_that_starts_beyond_the_text_is_cut_like_any_later_size(trained):
    schedule = "{_target_: adaptive_bench.schedulers.exponential.Exponential, initial: 100, factor: 4, interval: 1}"
    reversed_ = (
        "scheduler@block_scheduler=reversed",
        "block_scheduler.column=block_size",
        f"block_scheduler.schedule={schedule}",
    )
    trace = trace_of(trained(*TEXT, *reversed_, "scheduler.initial=2", "epochs=3"))
    assert trace["block_size_granted"].iloc[0] == 512
    assert trace["block_size_granted"].iloc[-1] == 100
