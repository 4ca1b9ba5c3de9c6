import random

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from mnist1d.data import make_dataset  # type: ignore[import-untyped]
from torch import nn
from torch.nn import functional as F

from adaptive_bench.streams import Batch
from tests.conftest import composed

CPU = torch.device("cpu")


def task_of(*overrides, seed=0):
    return instantiate(composed(*overrides).dataset, seed=seed, device=CPU)


def test_digits_keep_one_test_set_for_all_seeds():
    tasks = [
        task_of("dataset.train_size=null", "dataset.validation_size=300", "dataset.test_size=null", seed=seed) for seed in (0, 1)
    ]
    assert [task.train.epoch_samples for task in tasks] == [1137, 1137]
    first, second = (task.held_out["test"].inputs.flatten(1).to(torch.int64) for task in tasks)
    assert len(first) == 360
    assert sorted(first.tolist()) == sorted(second.tolist())
    seen = {tuple(row) for row in first.tolist()}
    train = tasks[0].train.images.flatten(1).tolist()
    # the set holds no image twice, so none of the test images may turn up
    assert not seen & {tuple(row) for row in train}


def test_digits_fill_a_byte():
    task = task_of()
    assert task.train.images.dtype == torch.uint8
    assert task.train.images.max() == 240
    assert task.inputs == (1, 8, 8)


def test_the_convex_problem_is_one_problem_for_all_seeds():
    parts = ["dataset=synthetic_convex", "dataset.size=500", "dataset.dimension=7", "dataset.noise=0"]
    first, second = (task_of(*parts, seed=seed) for seed in (0, 1))
    assert torch.equal(first.held_out["test"].inputs.sort(0).values, second.held_out["test"].inputs.sort(0).values)
    assert first.inputs == (7,)
    assert not torch.equal(first.train.inputs, second.train.inputs)


def test_the_convex_problem_is_learned_by_logistic_regression():
    task = task_of("dataset=synthetic_convex", "dataset.size=3000", "dataset.dimension=5", "dataset.train_size=2500")
    model = nn.Linear(5, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100)
    everything = Batch(task.train.inputs, task.train.targets)

    def closure():
        optimizer.zero_grad()
        loss = task.loss(model, everything)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert task.evaluate(model, "test").value >= 96
    assert task.train.inputs.abs().max() <= 1


@pytest.mark.parametrize(
    "settings", ["dataset.size=1", "dataset.dimension=0", "dataset.noise=-1", "dataset.noise=nan", "dataset.test_size=0"]
)
def test_an_impossible_problem_is_refused(settings):
    with pytest.raises(Exception, match=settings.split(".")[1].split("=")[0]):
        task_of("dataset=synthetic_convex", settings)


def test_evaluation_is_over_the_whole_split_in_evaluation_mode():
    task = task_of("dataset.test_size=123")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got = task.evaluate(model, "test")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    held_out = task.held_out["test"]
    logits = model(held_out.prepare(held_out.inputs))
    assert got.value == pytest.approx(100 * (logits.argmax(1) == held_out.targets).double().mean().item())
    assert got.loss == pytest.approx(F.cross_entropy(logits, held_out.targets).item(), rel=1e-5)


def test_mnist1d_is_one_set_of_ten_curves_and_leaves_the_shared_generators_alone():
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (task_of("dataset=mnist1d", "dataset.train_size=3500", "dataset.test_size=1000", seed=s) for s in (0, 1))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert (first.inputs, first.outputs) == ((40,), 10)
    tested = [task.held_out["test"] for task in (first, second)]
    assert torch.equal(*(part.inputs.sort(0).values for part in tested))
    assert not torch.equal(first.train.inputs, second.train.inputs)
    assert sorted(set(first.train.targets.tolist())) == [*range(10)]
    made = make_dataset()  # the last thousand are its authors' test set
    assert sorted(map(tuple, tested[0].inputs.tolist())) == sorted(map(tuple, made["x_test"].astype(np.float32).tolist()))
