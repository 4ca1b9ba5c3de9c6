"""The generated problem that a linear model cannot solve, and a network can."""

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from adaptive_bench.models import mlp
from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import Batch
from tests.conftest import composed

WHOLE = ("dataset.train_size=null", "dataset.validation_size=1000", "dataset.test_size=2000")


def task_of(*overrides, seed=0):
    cfg = composed("dataset=synthetic_nonconvex", *WHOLE, *overrides)
    return instantiate(cfg.dataset, seed=seed, device=torch.device("cpu"))


def everything(task):
    """All samples that are drawn, in whatever order."""
    parts = [task.train, *task.held_out.values()]
    return torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts])


def best_linear(task):
    model = nn.Linear(*task.inputs, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=50)
    batch = Batch(task.train.inputs, task.train.targets)

    def closure():
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


def student(task, *, epochs):
    torch.manual_seed(0)
    model = mlp(inputs=task.inputs, outputs=task.outputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    while task.train.order.epoch < epochs:
        optimizer.zero_grad()
        task.loss(model, task.train.take(BatchShape(128))).backward()
        optimizer.step()
    return model


def test_a_network_learns_what_no_linear_model_can():
    task = task_of()
    linear, network = best_linear(task), student(task, epochs=8)
    assert (task.inputs, task.train.epoch_samples) == ((400,), 9000)
    assert task.evaluate(linear, "test").value < 55  # the teacher: 95
    assert 65 < task.evaluate(network, "test").value < 96


def test_the_smaller_the_problem_the_closer_a_network_comes_to_the_teacher():
    task = task_of("dataset.dimension=20", "dataset.hidden=4", "dataset.flipped=0")
    assert task.evaluate(best_linear(task), "test").value < 56
    assert task.evaluate(student(task, epochs=8), "test").value > 90


def test_the_teacher_is_right_but_for_the_flipped_labels():
    clean, noisy = (everything(task_of(f"dataset.flipped={share}")) for share in (0, 0.05))
    assert torch.equal(clean[0], noisy[0])
    agreement = (clean[1] == noisy[1]).double().mean().item()
    assert agreement == pytest.approx(0.95, abs=0.01)
    assert clean[1].sum() == 6000  # two classes of one size


def test_no_feature_tells_anything_about_the_label():
    inputs, labels = everything(task_of("dataset.size=40000", "dataset.dimension=10", "dataset.flipped=0"))
    correlations = torch.corrcoef(torch.cat([inputs, labels[:, None]], dim=1).T)[-1, :-1]
    assert correlations.abs().max() < 4 / 42_000**0.5
    assert inputs.abs().max() <= 1


def test_one_problem_for_all_seeds_which_split_and_order_it():
    first, second = (task_of("dataset.dimension=7", seed=seed) for seed in (0, 1))
    rows = [torch.cat([inputs, labels[:, None]], dim=1).tolist() for inputs, labels in map(everything, (first, second))]
    assert sorted(rows[0]) == sorted(rows[1])
    tests = [task.held_out["test"].inputs for task in (first, second)]
    assert sorted(tests[0].tolist()) == sorted(tests[1].tolist())
    assert not torch.equal(first.train.inputs, second.train.inputs)


@pytest.mark.parametrize(
    "setting",
    ["size=1", "size=1e4", "dimension=0", "test_size=0", "hidden=3", "hidden=0", "flipped=0.5", "flipped=-0.1", "flipped=nan"],
)
def test_an_impossible_problem_is_refused(setting):
    with pytest.raises(Exception, match=rf"{setting.split('=')[0]}=.* expected"):
        task_of(f"dataset.{setting}")
