"""A CUDA device for each test that asks for one."""

from collections.abc import Iterator

import pytest

from tests.cuda.pretend import Pretended, pretended_cuda


@pytest.fixture
def device() -> Iterator[Pretended]:
    with pretended_cuda() as made:
        yield made
