"""From files of text to token ids: which words there are, in which order, and what is wrong with a file or a size."""

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_bench.datasets import ptb
from adaptive_bench.datasets.corpus import by_frequency, encode, read_words
from adaptive_bench.sizes import BatchShape
from tests.conftest import composed

TRAIN = " the <unk> sat \n\n the <unk> lay \n the <unk> \n"  # <eos> four times, <unk> and the three times, lay and sat once
VALID = " a cat sat \n"
TEST = " the sat lay \n the \n"


def write(root, *, train=TRAIN, valid=VALID, test=TEST):
    folder = root / "ptb"
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in {"train": train, "valid": valid, "test": test}.items():
        (folder / f"ptb.{part}.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def task_of(root, **overrides):
    chosen = {
        "root": str(root), "train_size": None, "validation_size": None, "test_size": None, "loss_reduction": "mean",
        "evaluation_batch": 1, "evaluation_block": 100, "seed": 0, "device": torch.device("cpu"),
    }  # fmt: skip
    return ptb(**chosen | overrides)


def refusal(root, **overrides):
    with pytest.raises(ValueError) as caught:
        task_of(root, **overrides)
    return str(caught.value)


def test_the_vocabulary_goes_by_frequency_and_then_by_alphabet():
    words = ["<eos>", "b", "a", "b", "é", "Z", "<unk>", "z", "<eos>", "<eos>"]
    assert by_frequency(words) == ["<eos>", "b", "<unk>", "Z", "a", "z", "é"]
    assert by_frequency(words[::-1]) == by_frequency(words)  # and not by who came first


def test_every_line_ends_in_one_eos_and_an_empty_one_is_nothing_else(tmp_path):
    file = tmp_path / "text"
    file.write_text("one two\n\n  \n three \n\n")
    assert read_words(file, command="") == ["one", "two", "<eos>", "<eos>", "<eos>", "three", "<eos>", "<eos>"]


@pytest.mark.parametrize("content", ["one\ntwo\n", "one\ntwo", "one\r\ntwo\r\n"], ids=["plain", "no last newline", "Windows"])
def test_lines_end_as_they_may(tmp_path, content):
    file = tmp_path / "text"
    file.write_bytes(content.encode())
    assert read_words(file, command="") == ["one", "<eos>", "two", "<eos>"]


def test_words_are_kept_as_they_are(tmp_path):
    file = tmp_path / "text"
    words = ["Pokémon", "戦場のヴァルキュリア3", "@-@", "½", "Straße", "STRASSE", "N"]
    file.write_bytes(" ".join(words).encode())
    assert read_words(file, command="") == [*words, "<eos>"]


printable = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1)


@given(st.lists(st.lists(printable, max_size=8), min_size=1, max_size=8))
@settings(deadline=None)
def test_what_is_written_encoded_and_decoded_is_what_it_was(tmp_path_factory, lines):
    file = tmp_path_factory.getbasetemp() / "any_words.txt"
    file.write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8", newline="\n")
    words = read_words(file, command="")
    names = by_frequency(words)
    ids = encode(words, {word: number for number, word in enumerate(names)}, split="train")
    assert ids.dtype == torch.int64
    assert [names[number] for number in ids] == [word for line in lines for word in (*line, "<eos>")]


def test_a_corpus_of_five_words_from_its_yaml(tmp_path):
    write(tmp_path)
    sizes = ["dataset.train_size=null", "dataset.validation_size=3", "dataset.test_size=null"]
    cfg = composed("dataset=ptb", f"dataset.root={tmp_path}", "dataset.evaluation_batch=1", *sizes)
    task = instantiate(cfg.dataset, seed=0, device=torch.device("cpu"))
    assert (task.inputs, task.outputs, task.train.epoch_samples) == ((), 5, 11)
    assert task.train.tokens.tolist() == [2, 1, 4, 0, 0, 2, 1, 3, 0, 2, 1, 0]
    assert {split: tokens.tolist() for split, tokens in task.held_out.items()} == {
        "validation": [1, 1, 4],  # "a" and "cat" are not in the training file
        "test": [2, 4, 3, 0, 2, 0],
    }
    batch = task.train.take(BatchShape(1, 3))
    assert (batch.inputs.tolist(), batch.targets.tolist()) == ([[2, 1, 4]], [[1, 4, 0]])


def test_null_takes_all_and_any_seed_takes_the_same(tmp_path):
    write(tmp_path)
    tasks = [task_of(tmp_path, seed=seed) for seed in (0, 1)]
    for task in tasks:
        assert {split: len(tokens) for split, tokens in task.held_out.items()} == {"validation": 4, "test": 6}
        assert torch.equal(task.train.tokens, tasks[0].train.tokens)


def test_a_part_is_the_beginning_in_the_words_of_the_whole(tmp_path):
    write(tmp_path)
    task = task_of(tmp_path, train_size=3, validation_size=2, test_size=6)
    assert task.train.tokens.tolist() == [2, 1, 4]
    assert {split: tokens.tolist() for split, tokens in task.held_out.items()} == {
        "validation": [1, 1],
        "test": [2, 4, 3, 0, 2, 0],
    }
    assert task.outputs == 5


def test_rare_words_become_unknown_and_the_others_keep_their_ids(tmp_path):
    write(tmp_path)
    whole, part = task_of(tmp_path), task_of(tmp_path, vocabulary=3)
    assert (whole.outputs, part.outputs) == (5, 3)
    assert part.train.tokens.tolist() == [number if number < 3 else 1 for number in whole.train.tokens.tolist()]  # 1 is <unk>
    assert part.held_out["test"].tolist() == [2, 1, 1, 0, 2, 0]


@pytest.mark.parametrize(
    ("size", "told"), [(6, "at most the 5 words"), (1, "a whole number from 2 up, or null"), (0, "from 2 up")]
)
def test_a_vocabulary_that_the_corpus_cannot_have_is_refused(tmp_path, size, told):
    write(tmp_path)
    message = refusal(tmp_path, vocabulary=size)
    assert message.startswith(f"vocabulary={size}: ") and told in message


def test_a_vocabulary_without_the_unknown_is_refused(tmp_path):
    write(tmp_path, train="a a a b b b <unk> \n" * 2)
    assert "<unk>, which stands for all other words, is not among them" in refusal(tmp_path, vocabulary=2)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("size", [1, 0, -3, 2.5, True, "3", [2], 13])
def test_sizes_that_a_split_cannot_have_are_refused_by_name(tmp_path, split, size):
    write(tmp_path)
    available = {"train": 12, "validation": 4, "test": 6}[split]
    message = refusal(tmp_path, **{f"{split}_size": size})
    assert message.startswith(f"{split}_size={size!r}: ")
    assert (f"at most the {available} tokens" if size == 13 else "a whole number from 2 up, or null") in message


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_missing_file_names_the_command(tmp_path, part):
    folder = write(tmp_path)
    (folder / f"ptb.{part}.txt").unlink()
    message = refusal(tmp_path)
    assert f"ptb.{part}.txt is missing" in message
    assert f"adaptive-bench fetch ptb --root {tmp_path}" in message
    assert "dataset.root=DIR" in message


def test_a_root_that_is_a_file_or_nowhere_is_a_missing_file(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "nowhere"):
        assert "ptb.train.txt is missing" in refusal(root)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    folder = write(tmp_path)
    (folder / "ptb.valid.txt").unlink()
    (folder / "ptb.valid.txt").mkdir()
    assert "ptb.valid.txt cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_an_empty_file_is_refused(tmp_path, part):
    write(tmp_path, **{part: ""})
    message = refusal(tmp_path)
    assert f"ptb.{part}.txt is empty" in message
    assert "delete it and run: adaptive-bench fetch ptb" in message


def test_a_file_of_one_token_is_too_short_to_predict_anything(tmp_path):
    write(tmp_path, test="\n")
    assert "the test split has 1 tokens: at least two are expected" in refusal(tmp_path)


@pytest.mark.parametrize("before", [0, 5, 20_000, 3_000_000])
@pytest.mark.parametrize("stranger", ["é".encode("latin-1"), b"\x93\xff\x00"], ids=["latin-1", "binary"])
def test_a_file_that_is_no_text_is_refused_with_the_place(tmp_path, before, stranger):
    write(tmp_path, train=b"caf \n" * (before // 5) + stranger + b" and more\n")
    message = refusal(tmp_path)
    assert "ptb.train.txt is not UTF-8 text" in message
    assert f"at byte {before})" in message


def test_a_stranger_is_refused_where_nothing_stands_for_the_unknown(tmp_path):
    write(tmp_path, train="the cat sat\n", test="the cat lay\n the dog sat\n", valid="the\n")
    message = refusal(tmp_path)
    assert "the test split has words that the training file lacks, such as 'lay'" in message
    assert "put <unk> for the rare words" in message
    assert task_of(tmp_path, test_size=2).held_out["test"].tolist() == [3, 1]  # no stranger among them
