"""What is fetched can be read; what is broken on the way leaves nothing behind."""

import errno
import hashlib
import runpy
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets.utils import download_url

from adaptive_bench.datasets.fetch import SOURCES, Source, fetch
from adaptive_bench.datasets.images import read_prepared
from adaptive_bench.datasets.layouts import find
from adaptive_bench.datasets.ptb import FILES as PTB_FILES
from adaptive_bench.datasets.wikitext2 import FILES as WIKITEXT2_FILES
from tests.datasets.conftest import fails, left_in, pack, spoil_first_member

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TEXTS = {
    "ptb": {"ptb.train.txt": b" the cat \n", "ptb.valid.txt": b" the \n", "ptb.test.txt": b" cat \n"},
    "wikitext2": {
        "wiki.train.tokens": " \n = caf\u00e9 = \n".encode(),
        "wiki.valid.tokens": b" a \n",
        "wiki.test.tokens": b"b \n",
    },
}
MEMBERS = {f"inside/{file}": content for file, content in TEXTS["wikitext2"].items()}


def images(folder: str, train: bool) -> SimpleNamespace:
    """Torchvision's CIFAR sets have these two attributes: an array and a list."""
    count = 30 if train else 20
    data = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return SimpleNamespace(data=data, targets=[i % 10 for i in range(count)])


@pytest.fixture
def corpora(site, monkeypatch):
    """The site with both corpora in small, which SOURCES point to."""
    for file, content in TEXTS["ptb"].items():
        (site.folder / file).write_bytes(content)
    pack(site.folder / "corpus.zip", MEMBERS)
    point(monkeypatch, "ptb", url=site.url)
    point(monkeypatch, "wikitext2", url=f"{site.url}/corpus.zip", within="inside")
    return site


def point(monkeypatch, name: str, **changed: object) -> None:
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in TEXTS[name].items()}
    monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], sha256=sums, **changed))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_fetched_images_can_be_read(tmp_path, name):
    written = fetch(name, root=tmp_path, download=images)
    assert [path.name for path in written] == ["train.npz", "test.npz"]
    (data, labels), (_, test_labels) = read_prepared(name, root=str(tmp_path), shape=(32, 32, 3), classes=10)
    assert np.array_equal(data.numpy(), images("", True).data)
    assert labels.tolist() == [i % 10 for i in range(30)]
    assert len(test_labels) == 20
    assert left_in(tmp_path) == ["test.npz", "train.npz"]


@pytest.mark.parametrize("name", TEXTS)
def test_fetched_texts_are_what_the_site_has_byte_for_byte(corpora, tmp_path, name):
    root = tmp_path / "new" / "data"
    written = fetch(name, root=root)
    assert {path.name: path.read_bytes() for path in written} == TEXTS[name]
    assert left_in(root) == sorted(TEXTS[name])
    assert {path.parent for path in written} == {root / name}


@pytest.mark.parametrize(("name", "files"), [("ptb", PTB_FILES), ("wikitext2", WIKITEXT2_FILES)])
def test_what_is_fetched_is_what_the_task_reads(name, files):
    assert sorted(SOURCES[name].files) == sorted(files)


def test_images_that_are_there_are_left_alone(tmp_path):
    fetch("cifar10", root=tmp_path, download=images)
    (tmp_path / "cifar10" / "test.npz").unlink()
    stamp = (tmp_path / "cifar10" / "train.npz").stat().st_mtime_ns
    assert fetch("cifar10", root=tmp_path, download=images) == [tmp_path / "cifar10" / "test.npz"]
    assert (tmp_path / "cifar10" / "train.npz").stat().st_mtime_ns == stamp
    assert fetch("cifar10", root=tmp_path, download=images) == []


def test_texts_that_are_there_are_left_alone_and_not_asked_for(corpora, tmp_path):
    (tmp_path / "ptb").mkdir()
    (tmp_path / "ptb" / "ptb.train.txt").write_text("of my own\n")
    assert [path.name for path in fetch("ptb", root=tmp_path)] == ["ptb.valid.txt", "ptb.test.txt"]
    assert corpora.asked == {"/ptb.valid.txt", "/ptb.test.txt"}
    assert (tmp_path / "ptb" / "ptb.train.txt").read_text() == "of my own\n"
    corpora.asked.clear()
    assert fetch("ptb", root=tmp_path) == []
    assert corpora.asked == set()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("File not found or corrupted."), "File not found or corrupted;"),
        (URLError("no route to host"), "no route to host"),
        (IncompleteRead(b"12", 100), "IncompleteRead"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("name", SOURCES)
def test_a_download_that_breaks_off_leaves_nothing(tmp_path, name, error, says):
    def broken(address, *where, **settings):
        raise error

    fails(name, tmp_path / "data", says, download=broken)


def test_half_of_the_images_are_not_kept(tmp_path):
    def broken(folder, train):
        if not train:
            raise RuntimeError("File not found or corrupted.")
        return images(folder, train)

    fails("cifar10", tmp_path / "data", "File not found or corrupted", download=broken)


def test_a_file_that_the_site_has_no_more(corpora, tmp_path):
    (corpora.folder / "ptb.test.txt").unlink()
    (corpora.folder / "corpus.zip").unlink()
    fails("ptb", tmp_path / "one" / "data", "404")
    fails("wikitext2", tmp_path / "two" / "data", "404")


def test_a_text_of_another_content_is_refused(corpora, tmp_path):
    (corpora.folder / "ptb.test.txt").write_bytes(b" dog \n")
    found, expected = (hashlib.sha256(content).hexdigest() for content in (b" dog \n", b" cat \n"))
    fails("ptb", tmp_path / "data", f"ptb.test.txt came with the SHA-256 {found}, expected was {expected}")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_text("<html>moved</html>"), "corpus.zip is no zip archive with .*File is not a zip file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "corpus.zip is no zip archive with"),
        (spoil_first_member, "corpus.zip is no zip archive with"),
        (lambda path: pack(path, dict(list(MEMBERS.items())[:2])), "no item named 'inside/wiki.test.tokens'"),
        (lambda path: pack(path, MEMBERS | {"inside/wiki.valid.tokens": b" c \n"}), "wiki.valid.tokens came with the SHA-256"),
    ],
    ids=["no archive", "truncated", "spoilt", "incomplete", "of another content"],
)
def test_an_archive_that_is_not_what_it_should_be_is_refused(corpora, tmp_path, spoil, says):
    spoil(corpora.folder / "corpus.zip")
    fails("wikitext2", tmp_path / "data", says)


def test_only_the_named_members_of_an_archive_are_read(corpora, tmp_path):
    pack(corpora.folder / "corpus.zip", MEMBERS | {"../../stranger": b"1", "/stranger": b"2", "inside/../stranger": b"3"})
    fetch("wikitext2", root=tmp_path / "data")
    assert left_in(tmp_path / "data") == sorted(TEXTS["wikitext2"])
    assert not list(tmp_path.rglob("stranger"))


def test_a_root_that_is_a_file_is_refused(corpora, tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(ValueError, match=r"data/ptb cannot be written .*name another folder with --root"):
        fetch("ptb", root=tmp_path / "data")


class Overflow(Source):
    """Two files, of which the second is too large for the disk."""

    files = ("first", "second")

    def get(self, wanted, folder):
        def overflow(out):
            out.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        return {"first": lambda out: out.write(b"whole"), "second": overflow}


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "overflow", Overflow(url="", download=print))
    with pytest.raises(ValueError, match=r"overflow cannot be written .*No space left"):
        fetch("overflow", root=tmp_path)
    assert left_in(tmp_path) == ["first"]
    assert (tmp_path / "overflow" / "first").read_bytes() == b"whole"


def test_the_command_says_what_it_wrote(corpora, tmp_path, cli):
    code, out, _ = cli("fetch", "ptb", "--root", str(tmp_path))
    assert (code, out.split()) == (0, [str(tmp_path / "ptb" / file) for file in TEXTS["ptb"]])
    assert cli("fetch", "ptb", "--root", str(tmp_path)) == (0, f"{tmp_path} has ptb already\n", "")


def test_the_command_says_what_failed(corpora, tmp_path, cli):
    (corpora.folder / "corpus.zip").unlink()
    code, out, err = cli("fetch", "wikitext2", "--root", str(tmp_path / "data"))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("adaptive-bench: error: the download of wikitext2 failed: HTTP Error 404")


def test_a_sweep_fetches_once_before_it_starts(corpora, tmp_path, monkeypatch, cli):
    """Texts of six tokens in batches of one: what is missing is asked for once, and no run is there before it has come."""
    asked = []

    def counted(address, folder):
        asked.append(address.rpartition("/")[2])
        assert not (tmp_path / "results").exists()
        download_url(address, folder)

    point(monkeypatch, "ptb", download=counted)
    sizes = ("scheduler.initial=1", "block_scheduler.initial=1", "dataset.evaluation_batch=1")
    chosen = ("-m", "dataset=ptb", "model=lstm_small", "epochs=1", "progress=false", "threads=1", "seed=0,1", *sizes)
    root = f"dataset.root={tmp_path / 'new' / 'data'}"
    code, _, said = cli("train", *chosen, root, "dataset.download=true")
    assert (code, "2 runs: 2 done" in said) == (0, True)
    assert asked == list(TEXTS["ptb"])
    code, _, said = cli("train", *chosen, root)
    assert (code, "2 runs, 2 of them finished before: nothing to train" in said) == (0, True)  # the same runs without it


def test_many_at_once_fetch_once(corpora, tmp_path, monkeypatch):
    asked = []

    def slow(address, folder):
        asked.append(address.rpartition("/")[2])
        time.sleep(0.05)
        download_url(address, folder)

    point(monkeypatch, "ptb", download=slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: find("ptb", root=tmp_path / "data", download=True), range(4)))
    assert asked == list(TEXTS["ptb"])
    assert {layout.paths for layout in found} == {tuple(tmp_path / "data" / "ptb" / file for file in TEXTS["ptb"])}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["dataset.download=true"], "error: dataset: the download of ptb failed: HTTP Error 404"),
        (["dataset.download=maybe"], "error: dataset: download='maybe': true or false is expected"),
        (["dataset.download=true", "dataset.root=/dev/null/data"], "error: dataset: /dev/null/data cannot be written"),
        ([], "or with dataset.download=true, or"),
    ],
)
@pytest.mark.parametrize("many", [(), ("-m", "seed=0,1")], ids=["one run", "sweep"])
def test_what_cannot_be_fetched_is_said_in_one_line(corpora, tmp_path, cli, overrides, says, many):
    (corpora.folder / "ptb.test.txt").unlink()
    code, out, err = cli("train", *many, "dataset=ptb", "model=lstm_small", f"dataset.root={tmp_path / 'data'}", *overrides)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("adaptive-bench: error") == 1
    assert not (tmp_path / "results").exists()


def test_the_command_names_the_sets_that_it_knows(cli):
    code, _, err = cli("fetch", "mnist")
    assert code == 1
    for name in SOURCES:
        assert name in err
        assert name in cli("fetch", "--help")[1]


@pytest.mark.parametrize(("script", "command"), [("fetch_data", "fetch"), ("tables", "tables"), ("calibrate", "calibrate")])
def test_a_script_is_its_command(monkeypatch, capsys, script, command):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    assert stop.value.code == 0
    assert f"adaptive-bench {command}" in capsys.readouterr().out
