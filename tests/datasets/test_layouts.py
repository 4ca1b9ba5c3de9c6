"""The same data in every layout that users have it in: one digest, one run, and one line about what is broken."""

import hashlib
import lzma
import pickle
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torchvision

from adaptive_bench.datasets.fetch import fetch
from adaptive_bench.datasets.images import read_prepared
from adaptive_bench.datasets.layouts import LAYOUTS
from adaptive_bench.experiment.content import content as of_settings
from tests.datasets.conftest import PACKED, pack
from tests.datasets.test_tiny_imagenet import TOP, members

CIFAR = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
TEXTS = {
    "ptb": (
        {"ptb.train.txt": "a b <unk>\n" * 60, "ptb.valid.txt": "a\n" * 40, "ptb.test.txt": "b\n" * 40},
        "simple-examples/data",
    ),
    "wikitext2": ({"wiki.train.tokens": " = a =\n", "wiki.valid.tokens": "a\n", "wiki.test.tokens": "=\n"}, "wikitext-2"),
}
SIZES = ("train_size=40", "validation_size=20", "test_size=20")
ONE_STEP = ("epochs=1", "progress=false", "threads=1", *(f"dataset.{size}" for size in SIZES))


def some_images(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    generator, classes = np.random.default_rng(0), 10 if name == "cifar10" else 100
    return {
        part: (generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % classes)
        for part, count in (("train", 60), ("test", 20))
    }


def lay_out(
    name: str, roots: Path, images: dict[str, tuple[np.ndarray, np.ndarray]], patch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """The images below a root for each layout of CIFAR. Torchvision's sums become those of what was written."""
    source, key = CIFAR[name], "labels" if name == "cifar10" else "fine_labels"
    roots = {kind: roots / kind for kind in ("ours", "torchvision", "archive")}
    folder = roots["torchvision"] / source.base_folder
    for path in (roots["ours"] / name, folder, roots["archive"]):
        path.mkdir(parents=True)
    for part, (pixels, labels) in images.items():
        np.savez(roots["ours"] / name / f"{part}.npz", images=pixels, labels=labels)
        listed = getattr(source, f"{part}_list")
        for (file, _), rows in zip(listed, np.array_split(np.arange(len(labels)), len(listed)), strict=True):
            flat = pixels[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)
            (folder / file).write_bytes(pickle.dumps({"data": flat, key: labels[rows].tolist()}))
        patch.setattr(source, f"{part}_list", [[file, md5(folder / file)] for file, _ in listed])
    meta = folder / source.meta["filename"]
    meta.write_bytes(pickle.dumps({source.meta["key"]: []}))
    patch.setattr(source, "meta", source.meta | {"md5": md5(meta)})
    packed = roots["archive"] / source.filename
    with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
        tar.add(folder, source.base_folder)
    patch.setattr(source, "tgz_md5", md5(packed))
    return roots


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def content(name: str, *, root: Path) -> str:
    return of_settings({"_target_": f"adaptive_bench.datasets.{name}", "root": str(root)})


def digests(name: str, *roots: Path) -> list[str]:
    return [content(name, root=root) for root in roots]


def is_one_run(cli: Callable[..., tuple[int, str, str]], *chosen: str, roots: list[Path]) -> bool:
    """Whether a run that is trained from the first root is finished for all the others."""
    outcomes = [cli("train", *chosen, f"dataset.root={root}") for root in roots]
    assert [code for code, _, _ in outcomes] == [0] * len(roots), outcomes
    return [("was finished before" in out) for _, out, _ in outcomes] == [False] + [True] * (len(roots) - 1)


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_one_run_in_every_layout(tmp_path, monkeypatch, cli, name):
    roots = [*lay_out(name, tmp_path / "roots", some_images(name), monkeypatch).values()]
    roots += [roots[0] / name, roots[1] / CIFAR[name].base_folder]  # the folder itself in place of what holds it
    assert len(set(digests(name, *roots))) == 1
    assert is_one_run(cli, f"dataset={name}", "model=cnn_small", *ONE_STEP, "scheduler.initial=8", roots=roots)
    first, *others = (read_prepared(name, root=str(root), shape=(32, 32, 3), classes=100) for root in roots)
    for part in (0, 1):
        for other in others:
            assert torch.equal(other[part][0], first[part][0])
            assert torch.equal(other[part][1], first[part][1])
            assert other[part][0].is_contiguous()


def test_other_images_are_another_run(tmp_path, monkeypatch):
    images = some_images("cifar10")
    ours = lay_out("cifar10", tmp_path / "one", images, monkeypatch)["ours"]
    images["test"][1][3] += 1
    theirs = lay_out("cifar10", tmp_path / "other", images, monkeypatch)["torchvision"]
    assert len(set(digests("cifar10", ours, theirs))) == 2


class Trap:
    """Its pickle creates a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


@pytest.mark.parametrize("kind", ["torchvision", "archive"])
def test_a_file_with_another_sum_is_refused_before_it_is_unpickled(tmp_path, monkeypatch, cli, kind):
    root = lay_out("cifar10", tmp_path, some_images("cifar10"), monkeypatch)[kind]
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    if kind == "archive":
        path = root / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for file, _ in CIFAR["cifar10"].train_list + CIFAR["cifar10"].test_list:
                member = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
                member.size = len(trap)
                tar.addfile(member, BytesIO(trap))
    else:
        path = root / "cifar-10-batches-py"
        (path / "data_batch_3").write_bytes(trap)
    code, out, err = cli("train", "dataset=cifar10", f"dataset.root={root}", "model=cnn_small", *ONE_STEP)
    assert (code, out) == (1, "")
    assert err.startswith(f"adaptive-bench: error: dataset: {path} is not torchvision's CIFAR10 (")
    assert f"delete it and run: adaptive-bench fetch cifar10 --root {root}" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()  # the trap is one


def test_an_unfinished_folder_of_torchvisions_is_refused(tmp_path, monkeypatch):
    root = lay_out("cifar10", tmp_path, some_images("cifar10"), monkeypatch)["torchvision"]
    (root / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(ValueError, match="a file is missing, or its MD5 is another; delete it and run: "):
        content("cifar10", root=root)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_one_run_in_every_layout(tmp_path, name):
    files, published = TEXTS[name]
    roots = [tmp_path / kind for kind in ("ours", "flat", "published")]
    for folder in (roots[0] / name, roots[1], roots[2] / published):
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text)
    (roots[1] / "notes.txt").touch()  # not read, so of no influence
    within = roots[2] / Path(published).parts[0]
    assert len(set(digests(name, *roots, within, roots[2] / published))) == 1
    (roots[1] / next(iter(files))).write_text("another\n")
    assert content(name, root=roots[1]) != content(name, root=roots[0])


def test_a_language_model_is_trained_once(tmp_path, cli):
    files, published = TEXTS["ptb"]
    roots = [tmp_path / "one", tmp_path / "two", tmp_path / "three", tmp_path / "three" / "simple-examples"]
    for folder in (roots[0] / "ptb", roots[1], roots[2] / published):
        folder.mkdir(parents=True)
        for file, text in files.items():
            (folder / file).write_text(text)
    chosen = ("dataset=ptb", "model=lstm_small", "scheduler.initial=2", "block_scheduler.initial=4", "dataset.evaluation_batch=2")
    assert is_one_run(cli, *chosen, *ONE_STEP, roots=roots)


@pytest.fixture
def tiny(tmp_path):
    """Roots with Tiny ImageNet unpacked, packed, and as our files."""
    roots = [tmp_path / kind for kind in ("unpacked", "packed", "ours")]
    for path, image in members().items():
        file = roots[0] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    roots[1].mkdir()
    pack(roots[1] / f"{TOP}.zip", members())
    shutil.copytree(roots[0], roots[2])
    fetch("tiny_imagenet", root=roots[2])
    shutil.rmtree(roots[2] / TOP)
    return roots


def test_tiny_imagenet_is_one_run_in_every_layout(tiny, cli):
    roots = [*tiny, tiny[0] / TOP]
    assert len(set(digests("tiny_imagenet", *roots))) == 1
    sizes = ("dataset.train_size=3", "dataset.validation_size=1", "dataset.test_size=3", "scheduler.initial=1")
    assert is_one_run(cli, "dataset=tiny_imagenet", "model=cnn_small", *ONE_STEP, *sizes, roots=roots)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("wnids.txt", "No such file"),
        ("val/val_annotations.txt", "No such file"),
        ("train/n01/images/n01_0.JPEG", "1 to 2 images"),
    ],
)
def test_a_folder_of_tiny_imagenet_without_a_file_is_refused(tiny, file, says):
    (tiny[0] / TOP / file).unlink()
    with pytest.raises(ValueError, match=f"{TOP} is not Tiny ImageNet as it is distributed .*{says}"):
        content("tiny_imagenet", root=tiny[0])


def test_what_is_there_in_another_layout_is_not_downloaded(tmp_path, monkeypatch):
    def never(*address: object) -> None:
        raise AssertionError("something was downloaded")

    images = some_images("cifar10")
    roots = lay_out("cifar10", tmp_path, images, monkeypatch)
    expected = content("cifar10", root=roots["ours"])
    for kind in ("torchvision", "archive"):
        root = roots[kind]
        assert fetch("cifar10", root=root, download=never) == [root / "cifar10" / "train.npz", root / "cifar10" / "test.npz"]
        for path in root.iterdir():
            if path.name != "cifar10":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert content("cifar10", root=root) == expected
    for file, text in TEXTS["ptb"][0].items():
        (tmp_path / file).write_text(text)
    assert fetch("ptb", root=tmp_path, download=never) == []


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_error_names_every_layout(tmp_path, cli, name):
    code, out, err = cli("train", f"dataset={name}", f"dataset.root={tmp_path / 'nowhere'}", "progress=false")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    for layout in LAYOUTS[name]:
        assert str(layout.paths[0]) in err
    fetched = name.removesuffix("_lines")  # the same files
    assert f"adaptive-bench fetch {fetched} --root {tmp_path / 'nowhere'}" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", CIFAR)
def test_the_real_cifar_has_one_digest(real_data, tmp_path, monkeypatch, name):
    ours = read_prepared(name, root=str(real_data(name)), shape=(32, 32, 3), classes=100)
    images = {part: (pixels.numpy(), labels.numpy()) for part, (pixels, labels) in zip(("train", "test"), ours, strict=True)}
    roots = lay_out(name, tmp_path, images, monkeypatch)
    assert len(set(digests(name, real_data(name), *roots.values()))) == 1


@pytest.mark.slow
def test_the_real_penn_treebank_has_one_digest(real_data, tmp_path):
    root = real_data("ptb")
    shutil.copytree(root / "ptb", tmp_path / "simple-examples" / "data")
    assert len(set(digests("ptb", root, root / "ptb", tmp_path, tmp_path / "simple-examples"))) == 1


@pytest.mark.slow
def test_the_real_tiny_imagenet_has_one_digest(real_data, tmp_path):
    """Its JPEGs as they are distributed, of some classes, laid out as the archive has them."""
    ours = content("tiny_imagenet", root=real_data("tiny_imagenet"))
    if not (packed := PACKED / "tiny_imagenet" / "tin64_c20.npz.xz").exists():
        pytest.skip("the JPEGs of Tiny ImageNet are not here")
    with lzma.open(packed) as file, np.load(BytesIO(file.read())) as stored:
        some = dict(stored)
    images, annotations = {}, ""
    for part in ("train", "val"):
        ends = some[f"{part}_offsets"]
        for number, label in enumerate(some[f"{part}_labels"]):
            wnid = some["wnids"][label]
            within = f"train/{wnid}/images/{number:05}.JPEG" if part == "train" else f"val/images/{number}.JPEG"
            images[f"{TOP}/{within}"] = some[f"{part}_jpeg"][ends[number] : ends[number + 1]].tobytes()
            annotations += f"{number}.JPEG\t{wnid}\t0\t0\t62\t62\n" if part == "val" else ""
    images[f"{TOP}/wnids.txt"] = "\n".join(some["wnids"]).encode()
    images[f"{TOP}/val/val_annotations.txt"] = annotations.encode()
    (tmp_path / "packed").mkdir()
    pack(tmp_path / "packed" / f"{TOP}.zip", images)
    with ZipFile(tmp_path / "packed" / f"{TOP}.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert digests("tiny_imagenet", tmp_path / "packed", tmp_path / "unpacked") == [ours, ours]
