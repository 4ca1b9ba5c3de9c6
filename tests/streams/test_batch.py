import pytest
import torch

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import Batch, Place


@pytest.mark.parametrize(
    ("targets", "shape"),
    [
        (torch.zeros(5, dtype=torch.int64), BatchShape(5, 1)),  # labels
        (torch.zeros(5, 3, dtype=torch.int64), BatchShape(5, 3)),  # token ids
        (torch.zeros(5, 3), BatchShape(5, 1)),  # vectors to regress on
    ],
)
def test_only_token_ids_have_a_block(targets, shape):
    assert Batch(targets, targets).shape == shape


def test_a_part_of_a_part_knows_its_first_row_in_the_batch():
    tokens = torch.arange(20).view(10, 2)
    batch = Batch(tokens, tokens + 1, Place(epoch=1, position=40, samples=20, rows=10, resets_state=False))
    part = batch.rows(2, 9).rows(3, 5)
    assert part.targets.tolist() == [[11, 12], [13, 14]]
    assert part.place == Place(epoch=1, position=40, samples=20, rows=10, resets_state=False, first=5)
    assert Batch(tokens, tokens).rows(1, 3).place is None
