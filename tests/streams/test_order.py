"""Exact cover: whatever the sizes and whatever the order, every epoch holds every sample once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import Augmentation, ImageStream, VectorStream
from adaptive_bench.streams.order import Order, Piece

sizes = st.lists(st.integers(1, 90), min_size=1, max_size=40)


def vectors(count: int, seed: int) -> VectorStream:
    return VectorStream(torch.arange(count).unsqueeze(1), torch.arange(count), seed=seed)


def images(count: int, seed: int) -> ImageStream:
    pixels = torch.randint(0, 256, (count, 5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    augmentation = Augmentation(crop=1, flip=True)
    return ImageStream(pixels, torch.arange(count), seed=seed, mean=[0.5] * 3, std=[0.5] * 3, augmentation=augmentation)


@given(count=st.integers(1, 40), takes=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_every_epoch_holds_every_sample_exactly_once(count, takes, seed):
    stream = images(count, seed)
    served = torch.cat([stream.take(BatchShape(size)).targets for size in takes])
    assert len(served) == sum(takes)
    for epoch in served.split(count):
        assert len(set(epoch.tolist())) == len(epoch)  # the last epoch may be unfinished; no sample stands in it twice


@given(count=st.integers(1, 40), takes=sizes, others=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_the_sequence_does_not_depend_on_the_sizes(count, takes, others, seed):
    length = min(sum(takes), sum(others))
    first, second = (stream_of(images(count, seed), steps, length) for steps in (takes, others))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])  # pixels too: crops and flips belong to the sample, not to the batch


@given(count=st.integers(1, 40), before=sizes, after=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_a_position_is_all_there_is_to_remember(count, before, after, seed):
    stream, resumed = images(count, seed), images(count, seed)
    for size in before:
        stream.take(BatchShape(size))
    assert set(stream.state_dict()) == {"epoch", "position"}
    resumed.load_state_dict(stream.state_dict())
    for size in after:
        expected, got = stream.take(BatchShape(size)), resumed.take(BatchShape(size))
        assert torch.equal(expected.targets, got.targets)
        assert torch.equal(expected.inputs, got.inputs)


def stream_of(stream: ImageStream, takes: list[int], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [stream.take(BatchShape(size)) for size in takes]
    return torch.cat([b.targets for b in batches])[:length], torch.cat([b.inputs for b in batches])[:length]


def test_epochs_and_seeds_differ_in_their_order():
    first = vectors(50, seed=0).take(BatchShape(100)).targets
    other = vectors(50, seed=1).take(BatchShape(50)).targets
    assert not torch.equal(first[:50], first[50:])
    assert not torch.equal(first[:50], other)
    assert not torch.equal(first[:50], torch.arange(50))


def test_a_block_counts_as_samples():
    assert len(vectors(50, seed=0).take(BatchShape(3, 4)).targets) == 12


def test_a_position_outside_the_stream_is_refused():
    with pytest.raises(ValueError, match="position 50 lies outside"):
        Order(50, seed=0).seek(0, 50)
    with pytest.raises(ValueError, match="at least one sample"):
        Order(0, seed=0)


def whole(order: Order, epoch: int) -> torch.Tensor:
    return order.indices(Piece(epoch, 0, order.length))


def difficulty(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def ranked(count: int, *, seed: int = 0, span: float = 5) -> Order:
    order = Order(count, seed=seed)
    order.rank(difficulty(count), span=span)
    return order


@given(count=st.integers(1, 60), epoch=st.integers(0, 30), span=st.floats(0.1, 20), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_every_epoch_of_a_curriculum_holds_every_sample_exactly_once(count, epoch, span, seed):
    assert whole(ranked(count, seed=seed, span=span), epoch).sort().values.equal(torch.arange(count))


@given(count=st.integers(1, 60), span=st.floats(0.1, 20), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_a_curriculum_begins_strictly_from_easy_to_hard(count, span, seed):
    scores = difficulty(count)
    assert whole(ranked(count, seed=seed, span=span), 0).equal(scores.argsort())


@given(count=st.integers(1, 60), past=st.integers(0, 9), span=st.floats(0.1, 20), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_a_curriculum_ends_in_the_ordinary_shuffle(count, past, span, seed):
    epoch = math.ceil(span) + past
    assert whole(ranked(count, seed=seed, span=span), epoch).equal(whole(Order(count, seed=seed), epoch))


def test_the_mixture_by_hand():
    order = Order(4, seed=0)
    shuffled = whole(order, 1).tolist()
    order.rank(torch.tensor([0.3, 0.1, 0.4, 0.2]), span=2)  # ranks 2, 0, 3, 1; half-way in epoch 1
    ranks = [2, 0, 3, 1]
    by_hand = sorted(shuffled, key=lambda sample: 0.5 * ranks[sample] + 0.5 * shuffled.index(sample))
    assert whole(order, 1).tolist() == by_hand


def test_the_early_quarter_of_an_epoch_gets_harder_until_it_is_like_the_rest():
    count, span = 4000, 5
    order, scores = ranked(count, span=span), difficulty(count)
    means = [scores[whole(order, epoch)[: count // 4]].mean().item() for epoch in range(span + 1)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(1 / 8, abs=0.02)
    assert means[-1] == pytest.approx(1 / 2, abs=0.03)  # scores are uniform on [0, 1]


def test_a_curriculum_differs_between_seeds_and_epochs_after_its_start():
    assert not whole(ranked(50), 1).equal(whole(ranked(50), 2))
    assert not whole(ranked(50), 1).equal(whole(ranked(50, seed=1), 1))


@given(count=st.integers(1, 40), takes=sizes, others=sizes, span=st.floats(0.1, 20))
@settings(deadline=None, max_examples=30)
def test_the_order_of_a_curriculum_does_not_depend_on_the_sizes(count, takes, others, span):
    streams = images(count, 0), images(count, 0)
    for stream in streams:
        stream.order.rank(difficulty(count), span=span)
    length = min(sum(takes), sum(others))
    first, second = (stream_of(stream, steps, length) for stream, steps in zip(streams, (takes, others), strict=True))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_position_is_all_there_is_to_remember_of_a_curriculum():
    stream, resumed = images(30, 0), images(30, 0)
    for each in (stream, resumed):
        each.order.rank(difficulty(30), span=3)
    stream.take(BatchShape(47))
    assert set(stream.state_dict()) == {"epoch", "position"}
    resumed.load_state_dict(stream.state_dict())
    assert torch.equal(stream.take(BatchShape(100)).inputs, resumed.take(BatchShape(100)).inputs)


def test_an_epoch_under_way_is_ordered_anew():
    order = Order(50, seed=0)
    before = whole(order, 0)
    order.rank(difficulty(50), span=5)
    assert not whole(order, 0).equal(before)


@pytest.mark.parametrize(
    ("scores", "span", "says"),
    [
        (torch.zeros(49), 5, "scores of shape \\(49,\\)"),
        (torch.zeros(50, 1), 5, "one finite number for each of 50 samples"),
        (torch.tensor([math.nan] + [0.0] * 49), 5, "49 of them finite"),
        (torch.zeros(50), 0, "span=0: a number of epochs above 0"),
        (torch.zeros(50), math.inf, "span=inf"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, span, says):
    with pytest.raises(ValueError, match=says):
        Order(50, seed=0).rank(scores, span=span)
