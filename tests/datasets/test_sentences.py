"""The loss over real tokens and its gradient, against one unpadded sentence at a time in float64."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

from adaptive_bench.datasets import lengths
from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.estimators import GradientEstimator, MicroBatch, PerSample
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.models import lstm, transformer
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.streams import LengthBatching
from adaptive_bench.streams.base import IGNORED, Batch
from tests.execution.ranks.conftest import together

POLICIES = {
    "padded": LengthBatching(group="none"),
    "tokens": LengthBatching(group="buckets", count="tokens", pool=4, buckets=3),
    "packed": LengthBatching(group="packed", block=32, pool=2),
}
ROWS = 6


def task(policy: str = "padded", **settings: object) -> Sentences:
    small = {"law": "uniform", "longest": 14, "vocabulary": 9, "strength": 0.9, "train_size": 80, "validation_size": 30}
    made = lengths(**{**small, "test_size": 20, "seed": 0, "device": torch.device("cpu"), **settings})
    made.train.batching = POLICIES[policy]
    return made


def model_of(kind: str = "transformer") -> nn.Module:
    torch.manual_seed(0)
    if kind == "lstm":
        return lstm(inputs=(), outputs=9, embedding=8, hidden=8, layers=2, init=0.4).double()
    return transformer(inputs=(), outputs=9, width=8, heads=2, layers=2, init=0.4).double()


def alone(batch: Batch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets of each sentence of a batch, unpadded and unpacked."""
    numbers = torch.where(batch.targets == IGNORED, -1, 0) if batch.segments is None else batch.segments
    found = []
    for row, segments in enumerate(numbers):
        for number in range(int(segments.max()) + 1):
            which = segments == number
            found.append((batch.inputs[row][which][None], batch.targets[row][which][None]))
    return found


def by_hand(model: nn.Module, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    """sum over sentences of the sum of CE, over all real tokens, and its gradient: no padding, no packing, one at a time."""
    model.zero_grad()
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for inputs, targets in alone(batch):
        total = total + F.cross_entropy(model(inputs, None)[0].flatten(0, 1), targets.flatten(), reduction="sum")
        tokens += targets.numel()
    (total / tokens).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return (total / tokens).item(), gradients


def close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "policy"),  # an LSTM cannot be packed
    [*(("transformer", policy) for policy in POLICIES), ("lstm", "padded"), ("lstm", "tokens")],
)
@pytest.mark.parametrize(
    ("estimator", "most", "needs"),
    [
        (PerSample(), None, set()), (PerSample(), 2, set()),
        (MicroBatch(chunks=4), None, {Stat.GRAD_VARIANCE}), (MicroBatch(chunks=2), 2, {Stat.GRAD_VARIANCE}),
    ],
)  # fmt: skip
def test_loss_and_gradient_are_those_of_one_sentence_at_a_time(
    kind: str, policy: str, estimator: GradientEstimator, most: int | None, needs: set[Stat]
) -> None:
    made, model = task(policy), model_of(kind)
    for _ in range(3):
        batch = made.train.take(BatchShape(ROWS))
        loss, gradients = by_hand(model, batch)
        seen = estimator.backward(made.loss, model, batch, frozenset(needs), chunks=PhysicalBatch(maximum=most))
        assert seen.loss == pytest.approx(loss, rel=1e-10)
        close([parameter.grad for parameter in model.parameters()], gradients)


def measure_as_rank(folder: Path, policy: str) -> None:
    distributed.init_process_group("gloo")
    ranks = Ranks(rank=distributed.get_rank(), count=distributed.get_world_size())
    made, model = task(policy), model_of()
    batch = made.train.take(BatchShape(ROWS))
    seen = MicroBatch(chunks=2).backward(made.loss, model, batch, frozenset({Stat.GRAD_NORM, Stat.ENTROPY}), ranks=ranks)
    kept = {"loss": seen.loss, "entropy": seen.stats[Stat.ENTROPY], "gradients": [each.grad for each in model.parameters()]}
    torch.save(kept, folder / f"{ranks.rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_two_ranks_add_up_to_the_whole_batch(tmp_path: Path, policy: str) -> None:
    assert together(measure_as_rank, tmp_path, policy) == [0, 0]
    batch, model = task(policy).train.take(BatchShape(ROWS)), model_of()
    loss, gradients = by_hand(model, batch)
    for rank in (0, 1):
        kept = torch.load(tmp_path / f"{rank}.pt")
        assert kept["loss"] == pytest.approx(loss, rel=1e-10)
        assert kept["entropy"] == pytest.approx(entropy_by_hand(model, batch), rel=1e-10)
        close(kept["gradients"], gradients)


def entropy_by_hand(model: nn.Module, batch: Batch) -> float:
    found = []
    with torch.no_grad():
        for inputs, _ in alone(batch):
            logs = model(inputs, None)[0].flatten(0, 1).log_softmax(1)
            found.append(-(logs.exp() * logs).sum(1) / np.log(9))
    return torch.cat(found).mean().item()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("most", [None, 2])
def test_entropy_and_counts_ignore_padding(policy: str, most: int | None) -> None:
    made, model = task(policy), model_of()
    batch = made.train.take(BatchShape(ROWS), left=50)
    assert batch.shape.samples == sum(targets.numel() for _, targets in alone(batch)) < batch.shape.padded
    needs = frozenset({Stat.ENTROPY})
    seen = PerSample().backward(made.loss, model, batch, needs, chunks=PhysicalBatch(maximum=most))
    assert seen.stats[Stat.ENTROPY] == pytest.approx(entropy_by_hand(model, batch), rel=1e-10)


def test_moments_are_of_rows_weighted_by_their_lengths() -> None:
    """(t_i / mean t) g_i, g_i the gradient of row i's mean loss."""
    made, model = task(), model_of()
    batch = made.train.take(BatchShape(ROWS))
    rows = []
    for inputs, targets in alone(batch):
        model.zero_grad()
        F.cross_entropy(model(inputs, None)[0].flatten(0, 1), targets.flatten(), reduction="sum").backward()
        rows.append(torch.cat([each.grad.flatten() for each in model.parameters()]) / batch.tokens_per_row)
    expected = torch.stack(rows).square().sum(1).mean().item()
    stats = MicroBatch(chunks=ROWS).backward(made.loss, model, batch, frozenset({Stat.GRAD_VARIANCE})).stats
    assert stats[Stat.GRAD_VARIANCE] == pytest.approx(torch.stack(rows).var(0).sum().item(), rel=1e-9)
    assert expected > stats[Stat.GRAD_VARIANCE]


def test_perplexity_is_over_all_tokens_whatever_the_batches() -> None:
    made, model = task(), model_of()
    total = tokens = 0.0
    stream = made.held_out["validation"]
    while stream.epoch == 0:
        for inputs, targets in alone(stream.take(BatchShape(1))):
            total += F.cross_entropy(model(inputs, None)[0].flatten(0, 1), targets.flatten(), reduction="sum").item()
            tokens += targets.numel()
    found = made.evaluate(model, "validation")
    assert found.loss == pytest.approx(total / tokens, rel=1e-10)
    assert found.value == pytest.approx(np.exp(total / tokens), rel=1e-10)
    assert made.size("validation") == tokens
    assert model.training


def test_the_loss_of_each_sentence() -> None:
    made, model = task(), model_of()
    losses = made.sample_losses(model)
    for row in (0, 17, 79):
        batch = made.train.batch([np.array([row])])
        assert losses[row].item() == pytest.approx(made.loss(model, batch).item(), rel=1e-5)


def test_short_sentences_come_first_where_they_are_ranked_by_length() -> None:
    made = task(train_size=400)
    made.rank(torch.from_numpy(made.train.lengths), span=3)
    widths = [made.train.take(BatchShape(8)).shape.samples for _ in range(50)]
    assert widths == sorted(widths)
    for _ in range(100):
        made.train.take(BatchShape(8))
    assert made.train.epoch == 3
    widths = [made.train.take(BatchShape(8)).shape.samples for _ in range(50)]
    assert abs(np.corrcoef(range(50), widths)[0, 1]) < 0.4


@pytest.mark.parametrize(("law", "mean"), [("uniform", 11), ("geometric", 5), ("constant", 20)])
def test_the_law_of_generated_lengths(law: str, mean: float) -> None:
    made = lengths(
        law=law, longest=20, vocabulary=7, strength=0.9, train_size=4000, validation_size=5, test_size=5, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip
    found = made.train.lengths
    assert found.min() >= 2
    assert found.max() == 20
    assert found.mean() == pytest.approx(mean, rel=0.05)
    again = task(law="uniform", train_size=10).train.tokens
    assert again.tolist() == task(law="uniform", train_size=10, seed=3).train.tokens.tolist()
    tokens = made.train.tokens
    pairs = [(word, after) for word, after in pairwise(tokens) if word and after]  # 0 ends a sentence
    usual = {word: max(range(1, 7), key=[after for before, after in pairs if before == word].count) for word in range(1, 7)}
    assert np.mean([usual[word] == after for word, after in pairs]) == pytest.approx(0.9 + 0.1 / 6, abs=0.02)
