"""What only a GPU can show. `make test-gpu` runs these tests; without a CUDA device they are skipped."""

import time

import pytest
import torch
from torch import nn

from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.precision import Precision
from adaptive_bench.models import lstm
from adaptive_bench.models.norm import norm_layer
from tests.cuda.runs import TEXT, resumes_the_same, trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")]
CUDA = torch.device("cuda")
WORDS = {
    "images": ("model=resnet8", "dataset.crop=1", "dataset.flip=true", "scheduler=gns", "estimator=per_sample"),
    "text": ("model=lstm_200", "model.dropout=0.5", *TEXT, "batch_size.maximum=16"),
    "context": ("model=gpt_mini", *TEXT),
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_the_first_steps_lose_what_they_lose_on_a_cpu(tmp_path, words):
    losses = []
    for device in ("cpu", "cuda"):
        running = trainer(device, tmp_path / device, *words, *(["model.dropout=0"] if "model=resnet8" not in words else []))
        for _ in range(3):
            running.step()
        losses.append([row["loss"] for row in running.steps])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_deterministic_run_goes_on_to_the_same_bits(tmp_path, words):
    resumes_the_same(tmp_path, *words, "deterministic=true")


def test_a_convolution_in_fp32_is_in_float32():
    Precision("fp32", CUDA)
    layer, images = nn.Conv2d(64, 64, 3).to(CUDA), torch.randn(8, 64, 16, 16, device=CUDA)
    exact = nn.functional.conv2d(images.double(), layer.weight.double(), layer.bias.double())
    assert (layer(images) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_an_lstm_under_bf16_does_not_overflow_as_fp16_would():
    model = lstm(inputs=(), outputs=10, embedding=8, hidden=8, layers=2).to(CUDA)
    with torch.no_grad():
        model.embedding.weight.fill_(1e5)  # beyond fp16's 65,504
    with Precision("bf16", CUDA).autocast():
        logits, (h, _) = model(torch.zeros(2, 5, dtype=torch.int64, device=CUDA))
    assert h.dtype == torch.float32
    assert logits.isfinite().all()


def test_group_norm_keeps_images_channels_last():
    images = torch.rand(2, 16, 5, 5, device=CUDA).to(memory_format=torch.channels_last)
    assert norm_layer("group", 16).to(CUDA)(images).is_contiguous(memory_format=torch.channels_last)


def test_the_clock_counts_what_the_device_takes():
    clock, large = Clock(CUDA), torch.rand(4096, 4096, device=CUDA)
    torch.cuda.synchronize()
    start = time.perf_counter()
    with clock.running("train"):
        for _ in range(20):
            large = large @ large / 4096
        with clock.running("measure"):
            large = large @ large / 4096
    seconds = clock.state_dict()
    wall = time.perf_counter() - start
    assert seconds["train"] + seconds["measure"] == pytest.approx(wall, rel=0.2)
    assert 0 < seconds["measure"] < 0.2 * seconds["train"]
