"""bf16 and fp16 by autocast, the loss scale, compiled models, fused optimisers."""

import math

import pandas as pd
import pytest
import torch
from torch import nn

from adaptive_bench.datasets.classification import Classification
from adaptive_bench.estimators import Auto, MicroBatch, PerSample
from adaptive_bench.execution import compilation
from adaptive_bench.execution.precision import Precision
from adaptive_bench.models import cnn_small, lstm, vit_tiny
from adaptive_bench.stats import Stat
from adaptive_bench.training.checkpoint import weights_digest
from tests.execution.test_physical_batch import TEXT, built, column, run, weights

CPU = torch.device("cpu")
LOUD = (
    "dataset.std=[0.001]",
    "model.norm=none",
    "optimizer.lr=1e-5",
    "scheduler.initial=50",
)  # inputs of 700: gradients overflow


def computes_lstm_in_bf16() -> bool:
    try:
        Precision("bf16", CPU).check(nn.LSTM(1, 1))
    except ValueError:
        return False
    return True


lstm_in_bf16 = pytest.mark.skipif(not computes_lstm_in_bf16(), reason="torch computes no LSTM in bf16 on this CPU")


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(("scheduler.initial=20",), id="images"),
        pytest.param((*TEXT, "optimizer=adamw", "optimizer.lr=0.01", "epochs=4"), id="text", marks=lstm_in_bf16),
    ],
)
def test_a_run_in_bf16_learns_and_is_not_the_run_in_fp32(workload, trained) -> None:
    fp32, bf16 = (trained(*workload, f"precision={name}") for name in ("fp32", "bf16"))
    full, half = (pd.read_parquet(folder / "trace.parquet") for folder in (fp32, bf16))
    assert half["loss"].tolist() != full["loss"].tolist()
    assert half["loss"].tolist() == pytest.approx(full["loss"].tolist(), rel=0.2)
    assert half["loss"].iloc[-1] < half["loss"].iloc[0]
    record = pd.read_parquet(bf16 / "record.parquet").iloc[0]
    assert (record["precision"], record["status"], record["skipped_steps"]) == ("bf16", "done", 0)
    assert pd.read_parquet(fp32 / "record.parquet")["precision"].item() == "fp32"


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_training_and_evaluation_are_in_the_same_precision_and_weights_in_float32(name, dtype, tmp_path) -> None:
    trainer, seen = built(tmp_path, f"precision={name}"), []
    trainer.model.register_forward_hook(lambda module, _, output: seen.append((module.training, output.dtype)))
    trainer.step()
    trainer.evaluate("validation")
    assert set(seen) == {(True, dtype), (False, dtype)}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "chosen",
    [
        ("model.norm=batch", "estimator=per_sample", "estimator.fraction=1"),
        ("model.norm=group", "estimator=per_sample", "estimator.fraction=1"),
        ("model.norm=group", "estimator=microbatch"),
    ],
    ids=" ".join,
)
def test_statistics_in_half_precision_are_those_of_fp32(chosen, tmp_path) -> None:
    chosen = ("scheduler=gns", "scheduler.initial=60", *chosen)
    rows = {}
    for name in ("fp32", "bf16", "fp16"):
        trainer = built(tmp_path, *chosen, f"precision={name}")
        trainer.step()
        rows[name] = trainer.steps[0]
    for name in ("bf16", "fp16"):
        assert not rows[name]["skipped"]
        for stat in ("grad_variance", "grad_sq_norm"):
            assert rows[name][stat] == pytest.approx(rows["fp32"][stat], rel=0.03)
            assert rows[name][stat] != rows["fp32"][stat]


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_half_precision_resumes_bit_for_bit(precision, tmp_path) -> None:
    chosen = (*LOUD, f"precision={precision}", "epochs=4")
    whole = run(tmp_path / "whole", *chosen)
    first = built(tmp_path / "parts", *chosen)
    for _ in range(5):
        first.step()
    first.save()
    second = built(tmp_path / "parts", *chosen)
    second.run()
    assert weights_digest(second.model) == weights_digest(whole.model)
    assert second.precision.state_dict() == whole.precision.state_dict()
    assert any(column(whole, "skipped")[:5]) == (precision == "fp16")  # a scale that is to be kept


@lstm_in_bf16
def test_a_text_in_bf16_resumes_bit_for_bit(tmp_path) -> None:
    whole = run(tmp_path / "whole", *TEXT, "precision=bf16", "model.dropout=0.2")
    first = built(tmp_path / "parts", *TEXT, "precision=bf16", "model.dropout=0.2")
    for _ in range(5):
        first.step()
    first.save()
    second = built(tmp_path / "parts", *TEXT, "precision=bf16", "model.dropout=0.2")
    second.run()
    assert weights_digest(second.model) == weights_digest(whole.model)


def test_an_update_whose_gradient_overflows_is_left_out_and_recorded(trained, tmp_path) -> None:
    record = pd.read_parquet(trained(*LOUD, "precision=fp16", "epochs=3") / "record.parquet").iloc[0]
    assert record["status"] == "done"
    assert 0 < record["skipped_steps"] < record["steps"]
    trainer, unchanged = built(tmp_path / "again", *LOUD, "precision=fp16", "epochs=3"), []
    while trainer.samples < trainer.budget:
        before, scale = weights(trainer), trainer.precision.loss_scale
        trainer.step()
        unchanged.append(torch.equal(weights(trainer), before))
        assert trainer.precision.loss_scale == (scale / 2 if unchanged[-1] else scale)
    assert unchanged == column(trainer, "skipped")
    assert sum(unchanged) == record["skipped_steps"]
    assert all(math.isfinite(loss) for loss in column(trainer, "loss"))


def test_a_gradient_that_no_scale_makes_finite_is_divergence(trained, monkeypatch) -> None:
    plain = Classification.loss

    def loss(task, model, batch):  # the derivative of sqrt at 0 is infinite, times 0
        return plain(task, model, batch) + sum(parameter.mul(0).square().sum().sqrt() for parameter in model.parameters())

    monkeypatch.setattr(Classification, "loss", loss)
    folder = trained("precision=fp16", "scheduler.initial=10", "epochs=2")
    record = pd.read_parquet(folder / "record.parquet").iloc[0]
    assert record["status"] == "diverged"
    assert record["skipped_steps"] == 17  # scales 2^16 to 2^0


def test_the_scale_is_that_of_torchs_scaler() -> None:
    """Against torch.amp.GradScaler in its own loop, with an overflow now and then."""
    ours, theirs = Precision("fp16", CPU), torch.amp.GradScaler("cpu")
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    for step in range(4100):
        value = math.inf if step in (0, 1, 50, 3000) else math.nan if step == 7 else 1.0
        theirs.scale(torch.ones(()))
        parameter.grad = torch.full((3,), value)
        assert ours.overflowed([parameter]) == (not math.isfinite(value))
        theirs.unscale_(optimizer)
        theirs.step(optimizer)
        theirs.update()
        assert ours.loss_scale == theirs.get_scale()
    scale, good_steps = (theirs.state_dict()[name] for name in ("scale", "_growth_tracker"))
    assert ours.state_dict() == {"loss_scale": scale, "good_steps": good_steps}


def test_gradients_are_clipped_without_the_scale(tmp_path) -> None:
    plain = ("optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0", "model.norm=group")
    trainer = built(tmp_path, "precision=fp16", "max_grad_norm=0.01", *plain)
    before = weights(trainer)
    trainer.step()
    assert (weights(trainer) - before).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_fp16_is_refused_where_torch_cannot_compute_it(monkeypatch) -> None:
    class Unable(nn.LSTM):
        def forward(self, *_):
            raise RuntimeError("could not create a primitive. And so on")

    model = lstm(inputs=(), outputs=8, embedding=4, hidden=4, layers=1)
    monkeypatch.setattr(nn, "LSTM", Unable)
    with pytest.raises(
        ValueError, match=r"precision=fp16: .* on this cpu .*a primitive\); take precision=fp32 or precision=bf16"
    ):
        Precision("fp16", CPU).check(model)
    state = torch.get_rng_state()
    Precision("bf16", CPU).check(nn.Identity())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("optimizer", [("optimizer=sgd",), ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"),
                                       ("optimizer=adamw", "optimizer.lr=1e-3", "momentum_half_life=100")])  # fmt: skip
def test_a_fused_optimiser_makes_the_same_updates(optimizer, tmp_path) -> None:
    chosen = ("model.norm=group", "scheduler.initial=40", *optimizer)
    fused, plain = (run(tmp_path, *chosen, f"optimizer.fused={value}") for value in ("true", "false"))
    assert fused.update.optimizer.param_groups[0]["fused"]
    torch.testing.assert_close(weights(fused), weights(plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "need", "says"),
    [
        (PerSample(), Stat.GRAD_VARIANCE, "PerSample measures grad_variance by hooks.*estimator=microbatch"),
        (Auto(), Stat.MEAN_SAMPLE_SQ_NORM, "Auto measures mean_sample_sq_norm by hooks.*estimator=microbatch"),
        (MicroBatch(), Stat.ENTROPY, "MicroBatch measures entropy by hooks.*another scheduler or compile=false"),
    ],
)
def test_hooks_and_compiled_code_are_not_combined(estimator, need, says) -> None:
    model = cnn_small(inputs=(1, 8, 8), outputs=10)
    with pytest.raises(ValueError, match=f"compile=true: {says}"):
        compile_with(model, estimator, frozenset({need, Stat.GRAD_NORM}))


def test_auto_is_compiled_where_it_takes_micro_batches(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "true")  # any program: nothing is compiled before the first step
    model, auto, needs = vit_tiny(inputs=(1, 8, 8), outputs=10), Auto(), frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})
    auto.check(model, needs)
    assert auto.choice.startswith("microbatch: no layer rule")
    compile_with(model, auto, needs)
    with pytest.raises(ValueError, match="compile=true: Auto measures entropy by hooks"):
        compile_with(model, auto, needs | {Stat.ENTROPY})


def test_without_a_compiler_nothing_is_compiled(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"compile=true: torch needs a C\+\+ compiler"):
        compile_with(nn.Linear(2, 2), MicroBatch(), frozenset())


@pytest.mark.slow  # compiling takes a minute
@pytest.mark.filterwarnings("default")  # torch's own, about itself
def test_a_compiled_run_is_the_run(trained, tmp_path, monkeypatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed  # takes seconds to import

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    chosen = ("model=mlp", "model.hidden=[8]", "scheduler=exponential", "scheduler.initial=20", "scheduler.factor=2")
    plain = trained(*chosen)
    try:
        compiled = trained(*chosen, "compile=true")
    except BackendCompilerFailed as error:
        pytest.skip(f"torch.compile does not work here: {str(error).splitlines()[0]}")
    records = [pd.read_parquet(folder / "record.parquet").iloc[0] for folder in (compiled, plain)]
    traces = [pd.read_parquet(folder / "trace.parquet") for folder in (compiled, plain)]
    assert len(set(traces[0]["batch_size"])) > 1
    assert traces[0]["loss"].tolist() == pytest.approx(traces[1]["loss"].tolist(), rel=1e-4)
    # of training: one size, then any; of evaluation: at least one. Not one for each size
    assert 3 <= records[0]["compiled_graphs"] <= 6
    assert records[1]["compiled_graphs"] == 0


def compile_with(model, estimator, needs):
    compilation.compile_model(model, hooked=estimator.hooked(needs), estimator=type(estimator).__name__)
