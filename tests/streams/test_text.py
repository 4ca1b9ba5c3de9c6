"""Columns of text: exact cover, whatever the sizes; and where a state may be carried on, the text does go on."""

import json
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import Batch, ColumnStream

shapes = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=40)
lengths = st.integers(2, 300)


def counted(length: int) -> ColumnStream:
    """A text in which every token is its own position."""
    return ColumnStream(torch.arange(length))


def fitting(sizes: list[tuple[int, int]], length: int) -> list[BatchShape]:
    return [BatchShape(min(batch, length - 1), min(block, length - 1)) for batch, block in sizes]


def epoch(stream: ColumnStream, sizes: list[BatchShape]) -> list[Batch]:
    """The batches of the epoch the stream is in, with the sizes over and over."""
    now, batches = stream.epoch, []
    while stream.epoch == now:
        batches.append(stream.take(sizes[len(batches) % len(sizes)]))
    return batches


@given(length=lengths, sizes=shapes)
@settings(deadline=None)
def test_every_epoch_predicts_every_token_but_the_first_exactly_once(length, sizes):
    stream = counted(length)
    assert stream.epoch_samples == length - 1
    for _ in range(3):
        batches = epoch(stream, fitting(sizes, length))
        served = torch.cat([batch.targets.flatten() for batch in batches])
        assert served.sort().values.tolist() == list(range(1, length))
        assert all(torch.equal(batch.targets, batch.inputs + 1) for batch in batches)


@given(length=lengths, sizes=shapes)
@settings(deadline=None)
def test_a_batch_is_never_larger_than_asked_for(length, sizes):
    stream = counted(length)
    for asked in fitting(sizes, length):
        got = stream.take(asked).shape
        assert got.batch <= asked.batch
        assert got.block <= asked.block


@given(length=lengths, batch=st.integers(1, 40), blocks=st.lists(st.integers(1, 50), min_size=1, max_size=9))
@settings(deadline=None)
def test_with_one_batch_size_every_column_is_a_contiguous_part_of_the_text(length, batch, blocks):
    batch = min(batch, length - 1)
    batches = epoch(counted(length), fitting([(batch, block) for block in blocks], length))
    assert [each.place.resets_state for each in batches] == [True] + [False] * (len(batches) - 1)
    columns = [torch.cat([each.targets[row] for each in batches if row < len(each)]).tolist() for row in range(batch)]
    assert list(chain.from_iterable(columns)) == list(range(1, length))
    assert {len(column) for column in columns} <= {(length - 1) // batch, (length - 1) // batch + 1}


@given(length=lengths, sizes=shapes)
@settings(deadline=None)
def test_a_column_runs_forward_and_jumps_only_over_what_was_read(length, sizes):
    read, columns = {0}, {}
    for batch in epoch(counted(length), fitting(sizes, length)):
        if batch.place.resets_state:
            columns = {}
        assert batch.place.position == len(read) - 1
        for row, targets in enumerate(batch.targets.tolist()):
            column = [columns[row], *targets] if row in columns else targets
            assert column == sorted(set(column))
            skipped = set(range(column[0], column[-1])) - set(column)
            assert skipped <= read
            columns[row] = column[-1]
        assert set(columns) >= set(range(len(batch)))
        read |= set(batch.targets.flatten().tolist())


@given(length=lengths, sizes=shapes, stop=st.integers(0, 40))
@settings(deadline=None)
def test_a_resumed_stream_serves_the_same_batches(length, sizes, stop):
    sizes = fitting(sizes, length)
    stream, resumed = counted(length), counted(length)
    for size in sizes[:stop]:
        stream.take(size)
    resumed.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    assert resumed.state_dict() == stream.state_dict()
    for size in sizes[stop:] + sizes:
        expected, got = stream.take(size), resumed.take(size)
        assert torch.equal(expected.targets, got.targets)
        assert torch.equal(expected.inputs, got.inputs)
        assert expected.place == got.place


def test_a_batch_size_and_a_block_size_by_hand():
    stream = counted(12)  # 11 targets
    taken = [stream.take(BatchShape(*size)) for size in [(3, 2), (3, 5), (3, 5), (2, 1)]]
    assert [batch.targets.tolist() for batch in taken] == [
        [[1, 2], [5, 6], [9, 10]],  # columns 1-4, 5-8 and 9-11
        [[3], [7], [11]],
        [[4], [8]],  # the two columns that are longer by one
        [[1], [7]],
    ]
    assert [batch.place.resets_state for batch in taken] == [True, False, False, True]
    assert stream.state_dict() == {"epoch": 1, "position": 2, "layouts": [[2, 1]]}


def test_new_columns_are_laid_over_what_the_old_ones_had_left():
    stream = counted(13)
    assert stream.take(BatchShape(3, 1)).targets.tolist() == [[1], [5], [9]]  # 2-4, 6-8 and 10-12 are left
    taken = [stream.take(BatchShape(2, 3)) for _ in range(2)]
    assert [batch.targets.tolist() for batch in taken] == [[[2, 3, 4], [8, 10, 11]], [[6], [12]]]
    assert taken[0].place.resets_state
    assert not taken[1].place.resets_state
    assert stream.state_dict() == {"epoch": 0, "position": 3 + 6 + 2, "layouts": [[3, 1], [2, 4]]}


def test_asking_for_just_the_columns_that_are_left_lays_nothing_anew():
    stream = counted(12)
    stream.take(BatchShape(3, 3))
    last = stream.take(BatchShape(2, 4))
    assert last.targets.tolist() == [[4], [8]]
    assert not last.place.resets_state


def test_an_epoch_started_again_is_the_same_epoch():
    stream = counted(50)
    stream.take(BatchShape(49, 1))
    first = stream.take(BatchShape(4, 5))
    stream.restart_epoch()
    again = stream.take(BatchShape(4, 5))
    assert first.place == again.place
    assert torch.equal(first.targets, again.targets)


@pytest.mark.parametrize(
    "text", [torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(9), torch.zeros(3, 3).long()]
)
def test_what_is_no_text_is_refused(text):
    with pytest.raises(ValueError, match="at least two token ids"):
        ColumnStream(text)


@pytest.mark.parametrize("size", [(12, 1), (1, 12)])
def test_more_than_the_text_can_ever_have_is_refused(size):
    with pytest.raises(ValueError, match="11 tokens to predict"):
        counted(12).take(BatchShape(*size))


@pytest.mark.parametrize(
    "state",
    [
        {"epoch": 0, "position": 12, "layouts": [[3, 4]]},  # the whole epoch is read
        {"epoch": 0, "position": 5, "layouts": [[3, 2]]},
        {"epoch": 0, "position": 6, "layouts": []},
        {"epoch": -1, "position": 0, "layouts": []},
        {"epoch": 0, "position": 0, "layouts": [[0, 1]]},
        {"epoch": 0, "position": 30, "layouts": [[3, 10]]},
    ],
)
def test_the_position_of_another_text_is_refused_and_changes_nothing(state):
    stream = counted(12)
    stream.take(BatchShape(3, 2))
    before = stream.state_dict()
    with pytest.raises(ValueError, match="resume with the text"):
        stream.load_state_dict(state)
    assert stream.state_dict() == before
