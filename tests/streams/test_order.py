"""Exact cover: whatever the sizes, every epoch holds every sample once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.size import BatchShape
from adaptive_bench.streams import Augmentation, ImageStream, VectorStream
from adaptive_bench.streams.order import Order

sizes = st.lists(st.integers(1, 90), min_size=1, max_size=40)


def vectors(count: int, seed: int) -> VectorStream:
    return VectorStream(torch.arange(count).unsqueeze(1), torch.arange(count), seed=seed)


def images(count: int, seed: int) -> ImageStream:
    pixels = torch.randint(0, 256, (count, 5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    augmentation = Augmentation(crop=1, flip=True)
    return ImageStream(pixels, torch.arange(count), seed=seed, mean=[0.5] * 3, std=[0.5] * 3, augmentation=augmentation)


@given(count=st.integers(1, 40), takes=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None)
def test_every_epoch_holds_every_sample_exactly_once(count, takes, seed):
    stream = images(count, seed)
    served = torch.cat([stream.take(BatchShape(size)).targets for size in takes])
    assert len(served) == sum(takes)
    for epoch in served.split(count):
        assert len(set(epoch.tolist())) == len(epoch)  # the last epoch may be unfinished; no sample stands in it twice


@given(count=st.integers(1, 40), takes=sizes, others=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None)
def test_the_sequence_does_not_depend_on_the_sizes(count, takes, others, seed):
    length = min(sum(takes), sum(others))
    first, second = (stream_of(images(count, seed), steps, length) for steps in (takes, others))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])  # pixels too: crops and flips belong to the sample, not to the batch


@given(count=st.integers(1, 40), before=sizes, after=sizes, seed=st.integers(0, 2**40))
@settings(deadline=None)
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
