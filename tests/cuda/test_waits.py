"""How often a step waits for the device: once for the loss, and once more for statistics where there are any."""

import pytest

from tests.cuda.runs import TEXT, waits_a_step

IMAGES = (
    "model=cnn_small", "dataset.train_size=1000", "epochs=100", "evaluate_every=50", "scheduler.initial=20", "dataset.crop=1",
    "dataset.flip=true",
)  # fmt: skip
SENTENCES = (
    "dataset=lengths", "dataset.train_size=500", "model=gpt_mini", "model.width=32", "model.layers=1", "scheduler.initial=8",
    "evaluate_every=50", "epochs=100",
)  # fmt: skip
PLAIN = {
    "fixed": IMAGES,
    "fixed, in chunks": (*IMAGES, "max_physical_batch=7"),
    "exponential": (*IMAGES, "scheduler=exponential"),
    "loss": (*IMAGES, "scheduler=loss"),
    "clipped": (*IMAGES, "max_grad_norm=1"),
    "lstm_small": ("model=lstm_small", *TEXT),
    "gpt_mini": ("model=gpt_mini", *TEXT),
    "sentences": SENTENCES,
}
MEASURED = {
    "gns, per_sample": (*IMAGES, "scheduler=gns", "estimator=per_sample"),
    "gns, all rows": (*IMAGES, "scheduler=gns", "estimator=per_sample", "estimator.fraction=1"),
    "gns, in chunks": (*IMAGES, "scheduler=gns", "estimator=per_sample", "max_physical_batch=7"),
    "gns, microbatch": (*IMAGES, "scheduler=gns", "estimator=microbatch"),
    "gns, auto": (*IMAGES, "scheduler=gns", "estimator=auto"),
    "gns, lstm_small": ("model=lstm_small", *TEXT, "scheduler=gns", "estimator=microbatch"),
    "gns, gpt_mini": ("model=gpt_mini", "model.tied=false", *TEXT, "scheduler=gns", "estimator=per_sample"),
    "norm_test": (*IMAGES, "scheduler=norm_test", "estimator=per_sample"),
    "inner_product_test": (*IMAGES, "scheduler=inner_product_test", "estimator=microbatch"),
    "confidence": (*IMAGES, "scheduler=confidence"),
    "goodput": (*IMAGES, "scheduler=goodput", "estimator=per_sample"),
    "cabs": (*IMAGES, "scheduler=cabs", "estimator=per_sample"),
    "fp16": (*IMAGES, "precision=fp16"),  # the second one is for gradients that overflow
}


pytestmark = pytest.mark.filterwarnings("ignore:MicroBatch on a model with BatchNorm")


@pytest.mark.parametrize("words", PLAIN.values(), ids=PLAIN)
def test_a_plain_step_waits_once(tmp_path, device, words):
    assert sum(waits_a_step(device, tmp_path, *words).values()) == 1


@pytest.mark.parametrize("words", MEASURED.values(), ids=MEASURED)
def test_a_measured_step_waits_twice(tmp_path, device, words):
    assert sum(waits_a_step(device, tmp_path, *words).values()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["divebatch", "deba", "deba_flags", "simigrad", "memory", "adadamp"])
def test_a_rule_that_measures_now_and_then_waits_twice_at_most(tmp_path, device, scheduler):
    waits = waits_a_step(device, tmp_path, *IMAGES, f"scheduler={scheduler}", "estimator=microbatch", steps=50)
    of_epochs = [count for place, count in waits.items() if place.startswith(("order.py", "images.py"))]
    assert 1 <= sum(waits.values()) - sum(of_epochs) <= 2
    assert len(of_epochs) == 2  # where an epoch begins
