"""Every sentence once an epoch, whatever the policy and the sizes; the same rows after a resume; no order of lengths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import LengthBatching, SentenceStream
from adaptive_bench.streams.base import IGNORED
from adaptive_bench.streams.sentences import starts_of

END = 0
POLICIES = {
    "fixed": LengthBatching(group="none", pad_to="data"),
    "padded": LengthBatching(group="none"),
    "dynamic": LengthBatching(group="sorted", pool=10),
    "bucketed": LengthBatching(group="buckets", pool=10, buckets=4),
    "tokens": LengthBatching(group="buckets", count="tokens", pool=10, buckets=4),
    "packed": LengthBatching(group="packed", block=24, pool=4),
}


def text(lengths: list[int]) -> np.ndarray:
    """Sentences whose words are all different, so that each row can be told from its tokens."""
    words, parts = iter(range(1, 10**6)), list[int]()
    for length in lengths:
        parts += [*(next(words) for _ in range(length - 1)), END]
    return np.array(parts)


def stream(policy: str, lengths: list[int], *, seed: int = 0) -> SentenceStream:
    tokens = text(lengths)
    return SentenceStream(
        tokens, starts=starts_of(tokens, end=END), end=END, seed=seed, batching=POLICIES[policy], device=torch.device("cpu")
    )


def sentences(targets: torch.Tensor) -> list[tuple[int, ...]]:
    """The sentences of a padded or packed batch."""
    found, words = list[tuple[int, ...]](), list[int]()
    for row in targets.tolist():
        for token in row:
            if token == IGNORED:
                continue
            words.append(token)
            if token == END:
                found.append(tuple(words))
                words = []
    assert not words
    return found


LENGTHS = st.lists(st.integers(1, 24), min_size=1, max_size=60)
SIZES = st.lists(st.integers(1, 17), min_size=1, max_size=6)


@pytest.mark.parametrize("policy", POLICIES)
@given(lengths=LENGTHS, sizes=SIZES, data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_sentence_comes_once_an_epoch_under_changing_sizes_and_through_a_resume(policy, lengths, sizes, data) -> None:
    served, expected = stream(policy, lengths), sorted(tuple(row) for row in np.split(text(lengths), np.cumsum(lengths)[:-1]))
    stop = data.draw(st.integers(0, 10))
    seen, step, samples = list[tuple[int, ...]](), 0, 0
    while served.epoch == 0:
        if step == stop:
            state, served = served.state_dict(), stream(policy, lengths)
            served.load_state_dict(state)
        batch = served.take(BatchShape(sizes[step % len(sizes)]))
        assert batch.shape.samples == round(batch.tokens_per_row * len(batch))
        assert len(batch) <= sizes[step % len(sizes)] or policy == "tokens"
        seen += sentences(batch.targets)
        samples += batch.shape.samples
        step += 1
    assert sorted(seen) == expected
    assert samples == served.epoch_samples == sum(lengths)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_resumed_stream_serves_the_same_batches(policy) -> None:
    lengths = np.random.default_rng(0).integers(1, 25, 500).tolist()
    one = stream(policy, lengths)
    for size in (3, 8, 8, 2, 16, 5):
        one.take(BatchShape(size))
    two = stream(policy, lengths)
    two.load_state_dict(one.state_dict())
    for size in [7] * 100:
        a, b = one.take(BatchShape(size)), two.take(BatchShape(size))
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)
    assert one.epoch > 0


@pytest.mark.parametrize("policy", ["padded", "dynamic", "bucketed", "tokens"])
def test_the_lengths_of_batches_come_in_no_order(policy) -> None:
    lengths = np.random.default_rng(1).integers(1, 25, 8000).tolist()
    served, widths = stream(policy, lengths), list[float]()
    while served.epoch == 0:
        batch = served.take(BatchShape(8))
        widths.append(batch.tokens_per_row)
    assert abs(np.corrcoef(widths[:-1], widths[1:])[0, 1]) < 0.2


def test_rows_of_a_batch_share_a_length_where_they_are_grouped_by_it() -> None:
    lengths = np.random.default_rng(1).integers(1, 25, 4000).tolist()
    spread = {}
    for policy in ("padded", "dynamic", "bucketed"):
        served, found = stream(policy, lengths), list[float]()
        while served.epoch == 0:
            found.append(float((served.take(BatchShape(8)).targets != IGNORED).sum(1).float().std()))
        spread[policy] = np.nanmean(found)
    assert spread["dynamic"] < 0.2 * spread["padded"]
    assert spread["bucketed"] < 0.4 * spread["padded"]


def test_tokens_keep_to_their_budget_and_fill_it() -> None:
    lengths = np.random.default_rng(2).integers(1, 25, 4000).tolist()
    served, padded, whole = stream("tokens", lengths), list[int](), 0
    budget = round(8 * served.mean)
    while served.epoch == 0:
        batch = served.take(BatchShape(8))
        assert batch.shape.padded <= budget
        if not batch.cut:
            padded.append(batch.shape.padded)
            whole += 1
    assert np.mean(padded) > 0.85 * budget
    assert whole > 400


def test_inputs_are_the_end_and_the_words_before() -> None:
    batch = stream("padded", [3, 2]).take(BatchShape(2))
    rows = sorted(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True))
    assert rows == [([0, 1, 2], [1, 2, 0]), ([0, 3, 0], [3, 0, IGNORED])]


def test_packed_rows_number_their_sentences() -> None:
    batch = stream("packed", [10, 9, 5]).take(BatchShape(1))
    assert batch.inputs.shape == (1, 24)
    assert batch.segments.tolist() == [[0] * 10 + [1] * 9 + [2] * 5]
    assert batch.inputs[0, [0, 10, 19]].tolist() == [END, END, END]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_budget_that_ends_inside_a_row_takes_a_prefix(policy) -> None:
    served = stream(policy, [5] * 40)
    batch = served.take(BatchShape(4), left=7)
    assert batch.cut
    assert batch.shape.samples == 7
    kept = batch.targets[batch.targets != IGNORED]
    whole = stream(policy, [5] * 40).take(BatchShape(4)).targets
    assert kept.tolist() == whole[whole != IGNORED][:7].tolist()


def test_two_seeds_serve_other_batches_and_ranks_the_same() -> None:
    lengths = np.random.default_rng(0).integers(1, 25, 300).tolist()
    one, same, other = stream("bucketed", lengths), stream("bucketed", lengths), stream("bucketed", lengths, seed=1)
    first = one.take(BatchShape(8)).targets
    assert torch.equal(first, same.take(BatchShape(8)).targets)
    assert not torch.equal(first, other.take(BatchShape(8)).targets)


@pytest.mark.parametrize(
    "change",
    [{"position": 1}, {"read": 1000}, {"held": [0, 0]}, {"held": [10**6]}, {"epoch": -1}],
)
def test_a_state_of_other_data_is_refused(change) -> None:
    served = stream("dynamic", [3] * 50)
    served.take(BatchShape(4))
    with pytest.raises(ValueError, match="do not fit 50 sentences; resume with the data set"):
        stream("dynamic", [3] * 50).load_state_dict(served.state_dict() | change)


def test_rows_of_length_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="the shortest of 0 tokens"):
        SentenceStream(
            np.array([1, 2]), starts=np.array([0, 0, 2]), end=0, seed=0, batching=POLICIES["padded"], device=torch.device("cpu")
        )


def test_what_fits_in_no_batch_is_refused() -> None:
    lengths = np.array([2, 4, 30])
    with pytest.raises(
        ValueError, match=r"longest sentence has 30 tokens, and a batch of 2 is a budget of 24; set batch_size.minimum to 3"
    ):
        POLICIES["tokens"].check(lengths, smallest=2)
    POLICIES["tokens"].check(lengths, smallest=3)
    with pytest.raises(ValueError, match="block=24: the longest sentence has 30 tokens; take block=30 or more"):
        POLICIES["packed"].check(lengths, smallest=1)
