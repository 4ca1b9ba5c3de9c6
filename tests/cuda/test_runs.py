"""Whole runs on the pretended device: no mixed devices, the numbers of the CPU, and the same weights after an interruption."""

import pytest
import torch

from adaptive_bench.execution import snapshot
from tests.cuda.pretend import pretended_cuda
from tests.cuda.runs import TEXT, resumes_the_same, trainer, weights

# everything but dropout, which draws other numbers there, and what torch computes in another order for another device
EXACT = {
    "resnet20": ("model=resnet20",),
    "resnet20, augmented": ("model=resnet20", "dataset.crop=1", "dataset.flip=true"),
    "densenet22": ("model=densenet22",),
    "cnn_small": ("model=cnn_small",),
    "mlp": ("model=mlp",),
    "resnet8, gns": ("model=resnet8", "scheduler=gns", "estimator=per_sample"),
    "cnn_small, microbatch": ("model=cnn_small", "scheduler=gns", "estimator=microbatch"),
    "cnn_small, divebatch": ("model=cnn_small", "scheduler=divebatch", "estimator=per_sample", "scheduler.initial=32"),
    "cnn_small, chunks": ("model=cnn_small", "scheduler=gns", "estimator=per_sample", "max_physical_batch=7"),
    "cnn_small, deba": ("model=cnn_small", "scheduler=deba", "scheduler.initial=32"),
    "mlp, curriculum": ("model=mlp", "order=curriculum"),
}
CLOSE = {
    "vit_tiny": ("model=vit_tiny", "model.patch=4"),
    "lstm_small": ("model=lstm_small", *TEXT),
    "gpt_mini": ("model=gpt_mini", "model.dropout=0", *TEXT),
    "gpt_mini, gns": ("model=gpt_mini", "model.dropout=0", "model.tied=false", *TEXT, "scheduler=gns", "estimator=per_sample"),
    "lstm_small, gns": ("model=lstm_small", *TEXT, "scheduler=gns", "estimator=microbatch"),
}
QUICK = ("resnet20, augmented", "cnn_small, microbatch", "mlp, curriculum", "lstm_small")


def slow(name, words):
    return pytest.param(words, id=name, marks=() if name in QUICK else pytest.mark.slow)


LARGE = {  # as they are, dropout and all
    "resnet18": ("model=resnet18",),
    "densenet121": ("model=densenet121",),
    "efficientnet_b0": ("model=efficientnet_b0",),
    "mobilenet_v3": ("model=mobilenet_v3",),
}


@pytest.mark.filterwarnings("ignore:MicroBatch on a model with BatchNorm")
@pytest.mark.parametrize("words", [slow(name, words) for name, words in (EXACT | CLOSE).items()])
def test_a_run_ends_as_on_the_cpu(tmp_path, words):
    here = trainer("cpu", tmp_path / "cpu", *words)
    here.run()
    with pretended_cuda():
        there = trainer("cuda", tmp_path / "cuda", *words)
        there.run()
        assert all(parameter.is_cuda for parameter in there.model.parameters())
        found = weights(there)
    assert [row["batch_size"] for row in there.steps] == [row["batch_size"] for row in here.steps]
    exact, expected = words in EXACT.values(), weights(here)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("words", LARGE.values(), ids=LARGE)
def test_a_large_model_trains_and_is_evaluated(tmp_path, device, words):
    running = trainer("cuda", tmp_path, *words, "epochs=1", "scheduler.initial=50", "dataset.train_size=100")
    running.run()
    assert len(running.steps) == 2
    assert all(value.is_cuda for value in running.model.state_dict().values())


@pytest.mark.parametrize(
    "words",
    [pytest.param(("model=lstm_small", "model.dropout=0.5", *TEXT), marks=pytest.mark.slow), ("model=resnet8", "dataset.crop=1")],
)
def test_a_run_that_is_interrupted_goes_on_as_if_it_had_not_been(tmp_path, device, words):
    resumes_the_same(tmp_path, *words)


def test_a_run_on_the_cpu_leaves_a_cuda_device_alone(tmp_path, monkeypatch):
    def touched(*_, **__):
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("get_rng_state", "set_rng_state", "empty_cache", "synchronize", "current_device", "Event"):
        monkeypatch.setattr(torch.cuda, name, touched)
    trainer("cpu", tmp_path, "model=mlp", "scheduler=gns").run()
    snapshot.random_state(torch.device("cpu"))
