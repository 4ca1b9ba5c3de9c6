"""What went wrong on GPUs, by injected errors and on the pretended device."""

import json
import math
import os
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from adaptive_bench.estimators.layers import convolution
from adaptive_bench.execution.precision import Precision
from adaptive_bench.experiment import machine
from adaptive_bench.experiment.run import _outcome
from adaptive_bench.models.norm import norm_layer
from adaptive_bench.training import probes
from adaptive_bench.training.trainer import Diverged
from tests.conftest import broken_after
from tests.cuda.pretend import DEVICE
from tests.cuda.runs import TEXT, trainer, weights


@pytest.mark.parametrize(("name", "tf32"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp16", False)])
def test_float32_means_what_the_run_asks_for(name, tf32):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not tf32
    Precision(name, torch.device("cuda"))
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32


def test_tf32_is_refused_on_a_cpu(tmp_path):
    with pytest.raises(ValueError, match="precision=tf32: only CUDA devices have it; take precision=fp32"):
        trainer("cpu", tmp_path, "precision=tf32")


def test_an_lstm_on_cuda_is_computed_outside_of_autocast(tmp_path, device, monkeypatch):
    running = trainer("cuda", tmp_path, "model=lstm_small", *TEXT)
    entered = []

    @contextmanager
    def autocast(kind, *, enabled):
        entered.append((kind, enabled))
        yield

    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: True)
    monkeypatch.setattr(torch, "autocast", autocast)
    running.task.loss(running.model, running.task.train.take(running._shape(4, 8))).backward()
    assert entered == [("cuda", False)]


def test_deterministic_is_part_of_a_run_where_it_is_asked_for(tmp_path, device, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    plain, asked = (trainer("cuda", tmp_path, "model=mlp", f"deterministic={value}") for value in ("false", "true"))
    try:
        assert plain.checkpoint != asked.checkpoint
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        machine.be_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_seconds_of_two_cards_are_not_pooled(device, monkeypatch):
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    said = set()
    for name in ("A100", "H100"):
        machine.accelerator.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        here = machine.prepare(device="cuda", threads=1, jobs=1)
        assert here.device == "cuda"
        assert f"cuda: {name}, CUDA {torch.version.cuda}, cuDNN" in here.timing
        assert here.allocator == "expandable_segments:True"
        said.add(here.timing)
    assert len(said) == 2
    machine.accelerator.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: pytest.fail("a run on the CPU asks no GPU for its name"))
    assert machine.prepare(device="cpu", threads=1, jobs=1).described == "cpu"


class Small(nn.Module):
    """A model for which memory runs out at more than so many rows."""

    def __init__(self, model: nn.Module, rows: int) -> None:
        super().__init__()
        self.model, self.rows, self.calls = model, rows, 0

    def forward(self, inputs: torch.Tensor, *others: object) -> object:
        self.calls += 1
        if len(inputs) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(inputs, *others)


@pytest.mark.parametrize(
    "words",
    [("model=mlp",), ("model=lstm_small", *TEXT), ("model=gpt_mini", *TEXT, "dataset.evaluation_batch=8")],
    ids=["images", "text", "context"],
)
def test_an_evaluation_that_does_not_fit_is_made_in_smaller_portions(tmp_path, words):
    running = trainer("cpu", tmp_path, *words)
    expected = running.task.evaluate(running.model, "validation")
    small = Small(running.model, rows=3)
    found = running.task.evaluate(small, "validation")
    assert found.value == pytest.approx(expected.value, rel=1e-5)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    failed, small.calls = small.calls, 0
    running.task.evaluate(small, "validation")
    assert small.calls < failed  # it is known now what fits
    with pytest.raises(ValueError, match="a single row does not fit"):
        running.task.evaluate(Small(running.model, rows=0), "validation")


def test_scores_of_a_curriculum_are_made_in_smaller_portions(tmp_path):
    running = trainer("cpu", tmp_path, "model=mlp")
    expected = running.task.sample_losses(running.model)
    torch.testing.assert_close(running.task.sample_losses(Small(running.model, rows=30)), expected)


def test_an_optimizer_without_room_for_its_state_says_so(tmp_path, monkeypatch):
    running = trainer("cpu", tmp_path, "model=mlp", "optimizer=adamw")

    def without_room() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(running.update.optimizer, "step", without_room)
    with pytest.raises(ValueError, match="the optimiser's state do not fit into the device's memory"):
        running.step()


def test_a_loss_that_is_not_finite_changes_no_weights(tmp_path, device):
    running = trainer("cuda", tmp_path, "model=mlp")
    with torch.no_grad():
        next(running.model.parameters()).fill_(math.inf)
    before = weights(running)
    with pytest.raises(Diverged, match="the loss became"):
        running.step()
    assert all(torch.equal(value, before[name]) for name, value in weights(running).items())


@pytest.mark.parametrize("hooked", [True, False])
def test_group_norm_keeps_images_channels_last(monkeypatch, hooked):
    plain = nn.functional.group_norm
    monkeypatch.setattr(nn.functional, "group_norm", lambda *given: plain(*given).contiguous())  # what torch does on CUDA
    norm = norm_layer("group", 16)
    if not hooked:
        norm._forward_hooks.clear()
    images = torch.rand(2, 16, 5, 5).to(memory_format=torch.channels_last)
    assert norm(images).is_contiguous(memory_format=torch.channels_last) is hooked


@pytest.mark.parametrize(("rows", "sizes"), [(20, [20, 20, 40, 40]), (150, [150, 150, 75, 75])])
def test_a_compiled_model_has_seen_two_sizes_and_an_evaluation_before_the_clock_starts(tmp_path, rows, sizes):
    running = trainer("cpu", tmp_path, "model=mlp", f"scheduler.initial={rows}", "scheduler=gns", "estimator=microbatch")
    seen = {True: [], False: []}
    running.model.register_forward_pre_hook(lambda model, given: seen[model.training].append(len(given[0])))
    running.model._compiled_call_impl = running.model._call_impl  # as Module.compile leaves it
    running.backward = lambda batch, needs: running.task.loss(running.model, batch).backward()
    probes.warm_up(
        running.model, running.task, running.estimator, running.backward, shape=running._shape(rows, 1), needs=running.needs
    )
    assert seen[True] == sizes
    assert seen[False] == [50]
    assert running.task.train.state_dict() == {"epoch": 0, "position": 0}


MEASURED = (
    "model=cnn_small", "scheduler=gns", "estimator=per_sample", "dataset.train_size=200", "scheduler.initial=20", "epochs=2",
    "checkpoint_every=0.2", "evaluate_every=1",
)  # fmt: skip


def a_card_on_which(fastest: str, monkeypatch) -> list[str]:
    """Makes it the one that one form is fast on; returns the forms that are timed."""
    timed: list[str] = []
    names = {form: name for name, form in convolution.FORMS.items()}

    def milliseconds(form) -> float:
        timed.append(names[form.func])
        form()
        return float(timed[-1] != fastest)

    monkeypatch.setattr(convolution, "_milliseconds", milliseconds)
    return timed


@pytest.mark.parametrize("fastest", convolution.FORMS)
def test_the_form_of_a_convolution_that_this_card_does_fastest_is_taken_and_kept(tmp_path, device, monkeypatch, fastest):
    timed = a_card_on_which(fastest, monkeypatch)
    running = trainer("cuda", tmp_path, *MEASURED)
    with broken_after(5), pytest.raises(RuntimeError, match="broken"):
        running.run()
    assert sorted(timed) == sorted([*convolution.FORMS] * len(running.estimator.convolutions))  # once each, in the warm-up
    assert set(running.estimator.convolutions.values()) == {fastest}
    again = trainer("cuda", tmp_path, *MEASURED)
    timed = a_card_on_which("none: the checkpoint says it", monkeypatch)
    again.run()
    assert not timed
    assert again.estimator.convolutions == running.estimator.convolutions
    assert json.loads(_outcome(again, status="done", reason="")["convolutions"]) == running.estimator.convolutions


def test_a_deterministic_run_times_no_forms(tmp_path, device, monkeypatch):
    timed = a_card_on_which("gram", monkeypatch)
    running = trainer("cuda", tmp_path, *MEASURED)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
        running.step()
    assert not timed
    assert not running.estimator.convolutions


def test_a_form_that_would_take_all_memory_is_not_tried(device, monkeypatch):
    timed = a_card_on_which("patches", monkeypatch)
    monkeypatch.setattr(convolution, "MOST_TRIED", 10_000)
    x, d = (torch.rand(2, channels, 12, 12).to(DEVICE) for channels in (3, 8))
    chosen = {}
    convolution.conv(nn.Conv2d(3, 8, 3, padding=1), x, d, chosen=chosen)
    assert timed == ["product", "patches"]  # the Gram matrices of the pixels have 2 x (196^2 + 144^2) numbers
    assert [*chosen.values()] == ["patches"]


def test_forms_are_timed_by_the_device(device):
    x, d = (torch.rand(2, channels, 12, 12).to(DEVICE) for channels in (3, 8))
    chosen = {}
    device.waits.clear()
    convolution.conv(nn.Conv2d(3, 8, 3, padding=1), x, d, chosen=chosen)
    assert set(chosen.values()) <= set(convolution.FORMS)
    assert sum(device.waits.values()) == len(convolution.FORMS)
