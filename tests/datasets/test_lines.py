"""Penn Treebank and WikiText-2 line by line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adaptive_bench.datasets import ptb_lines, wikitext2_lines
from adaptive_bench.streams import LengthBatching, waste
from adaptive_bench.streams.packing import least_bins, pack
from tests.streams.test_waste import measured

ALL = {"train_size": None, "validation_size": None, "test_size": None, "seed": 0, "device": torch.device("cpu")}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "ptb").mkdir()
    for part, text in {"train": "a b c\n\nb a\n", "valid": "a\n", "test": "c c c c\n"}.items():
        (tmp_path / "ptb" / f"ptb.{part}.txt").write_text(text)
    return tmp_path


def test_a_line_is_a_sentence_and_empty_ones_are_left_out(tiny: Path) -> None:
    task = ptb_lines(root=str(tiny), **ALL)
    assert task.train.lengths.tolist() == [4, 3]  # with <eos>
    assert task.outputs == 4
    assert task.held_out["test"].lengths.tolist() == [5]


def test_sizes_are_in_sentences(tiny: Path) -> None:
    assert ptb_lines(root=str(tiny), **ALL | {"train_size": 1}).train.lengths.tolist() == [4]
    assert ptb_lines(root=str(tiny), longest=5, **ALL).held_out["test"].lengths.tolist() == [5]
    with pytest.raises(ValueError, match="train_size=3: at most the 2 sentences there are, or null for all, are expected"):
        ptb_lines(root=str(tiny), **ALL | {"train_size": 3})
    with pytest.raises(ValueError, match="longest=4: the test split has no sentence so short"):
        ptb_lines(root=str(tiny), longest=4, **ALL)


@pytest.mark.slow
def test_penn_treebank(real_data) -> None:
    """Shares of padding that were computed independently, at 32 rows; other permutations differ by some tenths."""
    task = ptb_lines(root=str(real_data("ptb")), **ALL)
    lengths = task.train.lengths
    assert (len(lengths), lengths.sum(), lengths.max()) == (42_068, 929_589, 83)
    assert [stream.most_rows for stream in task.held_out.values()] == [3370, 3761]
    found = {
        "fixed": LengthBatching(group="none", pad_to="data"), "padded": LengthBatching(group="none"),
        "pool 10": LengthBatching(group="sorted", pool=10), "pool 50": LengthBatching(group="sorted", pool=50),
        "pool 100": LengthBatching(group="sorted"), "buckets": LengthBatching(group="buckets"),
        "tokens": LengthBatching(group="buckets", count="tokens"),
    }  # fmt: skip
    percent = {name: 100 * measured(lengths, batching, rows=32) for name, batching in found.items()}
    expected = {"fixed": 73.4, "padded": 52.8, "pool 10": 13.8, "pool 50": 3.8, "pool 100": 2.1, "buckets": 11.0, "tokens": 9.4}
    assert percent == pytest.approx(expected, abs=0.5)
    assert 100 * waste.best_buckets(lengths, buckets=10)[0] == pytest.approx(8.7, abs=0.05)
    assert len(pack(lengths, capacity=128)) == 7275
    assert least_bins(lengths, capacity=128) == 7263


@pytest.mark.slow
def test_wikitext2(real_data) -> None:
    task = wikitext2_lines(root=str(real_data("wikitext2")), longest=256, **ALL)
    assert task.outputs == 33_278
    assert task.train.lengths.max() <= 256
    assert np.median(task.train.lengths) > 2
