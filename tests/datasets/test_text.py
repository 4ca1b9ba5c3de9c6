"""Language modelling: the state goes on from batch to batch, whichever way a batch is computed and however long it is."""

import copy
import io
import json
import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.datasets import synthetic_convex
from adaptive_bench.datasets.text import LanguageModelling
from adaptive_bench.estimators import MicroBatch
from adaptive_bench.models import lstm
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.streams import Batch

VOCABULARY = 7
NEEDS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})


def text(length: int, *, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))


def task_of(length: int = 200, **settings: object) -> LanguageModelling:
    chosen = {
        "train": text(length), "held_out": {"validation": text(83, seed=1), "test": text(50, seed=2)}, "vocabulary": VOCABULARY,
        "loss_reduction": "mean", "evaluation_batch": 4, "evaluation_block": 9,
    }  # fmt: skip
    return LanguageModelling(**chosen | settings)


def network(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"embedding": 5, "hidden": 6, "layers": 2, "init": 0.5}
    return lstm(inputs=(), outputs=VOCABULARY, **sizes | settings).double()


def token_losses(model: nn.Module, tokens: Tensor, *, columns: int) -> Tensor:
    """The loss of each token but the first, each column in one forward pass; the first columns are longer by one."""
    size, longer = divmod(len(tokens) - 1, columns)
    ends = [column * size + min(column, longer) for column in range(columns + 1)]
    losses = []
    for start, stop in pairwise(ends):
        logits, _ = model(tokens[None, start:stop])
        losses.append(F.cross_entropy(logits[0], tokens[start + 1 : stop + 1], reduction="none"))
    return torch.cat(losses)


def state_of(task: LanguageModelling) -> Sequence[Tensor]:
    return task.state_dict()["state"]


@given(length=st.integers(2, 120), batch=st.integers(1, 9), blocks=st.lists(st.integers(1, 30), min_size=1, max_size=8))
@settings(deadline=None, max_examples=40)
def test_blocks_of_any_sizes_equal_one_forward_pass_over_each_column(length, batch, blocks):
    task, model, batch = task_of(length), network(), min(batch, length - 1)
    losses, step = 0.0, 0
    while task.train.epoch == 0:
        taken = task.train.take(BatchShape(batch, min(blocks[step % len(blocks)], length - 1)))
        losses += task.loss(model, taken).item() * taken.shape.samples
        step += 1
    assert losses == pytest.approx(token_losses(model, text(length), columns=batch).sum().item(), rel=1e-10)


@pytest.mark.parametrize("chunks", [2, 3, 5])
def test_micro_batches_give_the_gradient_and_the_state_of_the_whole_batch(chunks):
    whole, parts = task_of(), task_of()
    models = network(), network()
    estimator = MicroBatch(chunks=chunks)
    for shape in (BatchShape(5, 4), BatchShape(5, 11), BatchShape(3, 6), BatchShape(3, 2)):
        seen = [
            estimator.backward(task.loss, model, task.train.take(shape), needs)
            for task, model, needs in zip((whole, parts), models, (frozenset(), NEEDS), strict=True)
        ]
        assert seen[0].loss == pytest.approx(seen[1].loss, rel=1e-12)
        for first, second in zip(*(model.parameters() for model in models), strict=True):
            torch.testing.assert_close(first.grad, second.grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(state_of(whole), state_of(parts), rtol=1e-12, atol=0)
    assert all(part.abs().min() > 0 for part in state_of(whole))


def test_a_batch_that_comes_again_starts_from_the_state_before_it():
    task, model = task_of(), network()
    task.loss(model, task.train.take(BatchShape(4, 5)))
    before, position = state_of(task), task.train.state_dict()
    rehearsed = task.train.take(BatchShape(4, 5))
    other = copy.deepcopy(model)
    nn.init.normal_(other.output.weight)
    nn.init.normal_(other.layers[0].weight_hh_l0)
    task.loss(other, rehearsed)
    task.loss(other, rehearsed.rows(0, 2))  # and a piece of it
    task.train.load_state_dict(position)
    again = task.train.take(BatchShape(4, 3))  # of another length, too
    expected, _ = model(again.inputs, tuple(before))
    loss = task.loss(model, again)
    assert loss.item() == pytest.approx(F.cross_entropy(expected.flatten(0, 1), again.targets.flatten()).item(), rel=1e-12)
    assert task.loss(model, again).item() == loss.item()


def test_a_rehearsal_with_another_batch_size_does_not_lose_the_state():
    task, model = task_of(), network()
    task.loss(model, task.train.take(BatchShape(4, 5)))
    before, position = state_of(task), task.train.state_dict()
    task.loss(model, task.train.take(BatchShape(6, 5)))  # new columns, which begin anew
    task.train.load_state_dict(position)
    again = task.train.take(BatchShape(4, 5))
    expected, _ = model(again.inputs, tuple(before))
    torch.testing.assert_close(task.loss(model, again), F.cross_entropy(expected.flatten(0, 1), again.targets.flatten()))


@pytest.mark.parametrize("change", [BatchShape(3, 5), None], ids=["new columns", "new epoch"])
def test_where_columns_begin_anew_the_state_is_zero(change):
    task, model = task_of(), network()
    task.loss(model, task.train.take(BatchShape(4, 5)))
    while task.train.epoch == 0 and change is None:
        task.loss(model, task.train.take(BatchShape(4, 60)))
    batch = task.train.take(change or BatchShape(4, 5))
    logits, _ = model(batch.inputs)
    torch.testing.assert_close(task.loss(model, batch), F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()))


def test_no_gradient_flows_back_into_an_earlier_batch():
    task, model = task_of(), network()
    task.loss(model, task.train.take(BatchShape(4, 5)))
    assert not any(part.requires_grad for part in state_of(task))
    task.loss(model, task.train.take(BatchShape(4, 5))).backward()
    task.loss(model, task.train.take(BatchShape(4, 5))).backward()  # torch would refuse to go through the first graph twice


def train(task: LanguageModelling, model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        loss = task.loss(model, task.train.take(BatchShape(4 if step % 5 else 3, 3 + step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("stop", [0, 1, 3, 5, 6, 10])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(stop):
    parts = []
    for _ in range(2):
        model = network().float()
        parts.append((task_of(), model, torch.optim.SGD(model.parameters(), lr=0.5)))
    expected = train(*parts[0], range(14))
    assert train(*parts[1], range(stop)) == expected[:stop]
    file = io.BytesIO()
    task, model, _ = parts[1]
    torch.save({"task": task.state_dict(), "stream": json.dumps(task.train.state_dict())}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    resumed = task_of()
    resumed.load_state_dict(kept["task"])
    resumed.train.load_state_dict(json.loads(kept["stream"]))
    resumed.train.take(BatchShape(4, 2))  # a rehearsal
    resumed.train.load_state_dict(json.loads(kept["stream"]))
    assert train(resumed, model, torch.optim.SGD(model.parameters(), lr=0.5), range(stop, 14)) == expected[stop:]
    for first, second in zip(parts[0][1].parameters(), model.parameters(), strict=True):
        assert torch.equal(first, second)


def test_a_state_that_is_not_there_is_an_error_and_not_zero():
    task, model = task_of(), network()
    task.train.take(BatchShape(4, 5))
    with pytest.raises(ValueError, match=r"position 20 continues .* is not available \(the last one ends at None\)"):
        task.loss(model, task.train.take(BatchShape(4, 5)))
    fresh = task_of()
    fresh.loss(model, fresh.train.take(BatchShape(4, 5)))
    fresh.train.take(BatchShape(4, 5))
    with pytest.raises(ValueError, match=r"position 40 .* ends at \(0, 20\)"):
        fresh.loss(model, fresh.train.take(BatchShape(4, 5)))


@pytest.mark.parametrize("state", [{}, {"state": None}, {"state": None, "next": [0, 3]}])
def test_another_tasks_state_is_refused(state):
    with pytest.raises(ValueError, match="resume with the data set"):
        task_of().load_state_dict(state)


def test_a_batch_of_ones_own_has_no_state():
    task, model = task_of(), network()
    tokens = text(12).view(3, 4)
    logits, _ = model(tokens)
    for _ in range(2):
        torch.testing.assert_close(
            task.loss(model, Batch(tokens, tokens)), F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        )
    assert task.state_dict() == {"state": None, "next": None}


def test_a_loss_summed_over_time_is_block_times_the_mean():
    model = network()
    mean, summed = (task_of(loss_reduction=reduction) for reduction in ("mean", "sum_time"))
    for block in (7, 3):
        losses = [task.loss(model, task.train.take(BatchShape(5, block))).item() for task in (mean, summed)]
        assert losses[1] == pytest.approx(block * losses[0], rel=1e-12)


@pytest.mark.parametrize("block", [1, 9, 82, 1000])
@pytest.mark.parametrize("batch", [1, 4, 82])
def test_evaluation_is_over_all_tokens_and_its_block_makes_no_difference(batch, block):
    task = task_of(evaluation_batch=batch, evaluation_block=block, held_out={"test": text(83, seed=1)})
    model = network(dropout=0.5)
    trained_on = task.train.take(BatchShape(4, 5))
    task.loss(model, trained_on)
    before = task.state_dict(), task.train.state_dict()
    got = task.evaluate(model, "test")
    assert model.training
    torch.testing.assert_close(before, (task.state_dict(), task.train.state_dict()))
    model.eval()
    losses = token_losses(model, text(83, seed=1), columns=batch)
    assert len(losses) == task.size("test") == 82
    assert got.loss == pytest.approx(losses.mean().item(), rel=1e-10)
    assert got.value == pytest.approx(math.exp(got.loss), rel=1e-12)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    model = network()
    nn.init.constant_(model.output.weight, 1e6)
    model.output.bias.data[0] = 1e9
    assert task_of().evaluate(model, "test").value == math.inf


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": text(1)}, "the train split has 1 tokens"),
        ({"held_out": {"validation": text(0)}}, "the validation split has 0 tokens"),
        ({"vocabulary": 5}, "0 to 4 are expected for a vocabulary of 5"),
        ({"loss_reduction": "sum"}, "loss_reduction='sum': mean or sum_time"),
        ({"evaluation_batch": 50}, "evaluation_batch=50: the test split has only 49 tokens to predict"),
        ({"evaluation_batch": 0}, "evaluation_batch=0"),
        ({"evaluation_block": 2.5}, "evaluation_block=2.5"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        task_of(**settings)


def test_a_task_without_state_refuses_one():
    task = synthetic_convex(
        size=20, dimension=2, noise=0.0, train_size=None, validation_size=5, test_size=5, seed=0, device=torch.device("cpu")
    )
    assert task.state_dict() == {}
    task.load_state_dict({})
    with pytest.raises(ValueError, match="Classification keeps no state"):
        task.load_state_dict(task_of().state_dict())
