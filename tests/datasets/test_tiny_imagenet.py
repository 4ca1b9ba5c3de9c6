"""Tiny ImageNet: from the official archive to our files, and the real images."""

import hashlib
import io
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from adaptive_bench.__main__ import conf
from adaptive_bench.datasets import tiny_imagenet
from adaptive_bench.datasets.fetch import SOURCES, fetch
from adaptive_bench.datasets.images import read_prepared
from adaptive_bench.datasets.tiny_imagenet import read_archive
from tests.datasets.conftest import fails, left_in, pack, spoil_first_member

TOP = "tiny-imagenet-200"
SHADES = {"n02": [10, 40], "n01": [70, 100]}  # of the training images, class by class; not in alphabetical order
VALIDATION = [("val_0.JPEG", "n01", 130), ("val_1.JPEG", "n02", 160), ("val_2.JPEG", "n01", 190)]


def jpeg(shade: int, *, mode: str = "RGB", size: tuple[int, int] = (64, 64), kind: str = "JPEG") -> bytes:
    """A grey image whose upper half is darker by a tenth of 100."""
    picture = np.full((size[1], size[0]), shade, np.uint8)
    picture[: size[1] // 2] -= 10
    file = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(file, kind, quality=95)
    return file.getvalue()


def enormous() -> bytes:
    """An image whose header promises 65,535 x 65,535 pixels."""
    content = bytearray(jpeg(10))
    header = content.index(b"\xff\xc0")
    content[header + 5 : header + 9] = b"\xff" * 4
    return bytes(content)


def members(**changed: bytes | None) -> dict[str, bytes]:
    """Of an archive in the form of the official one; with other contents, or without some."""
    annotations = "".join(f"{name}\t{wnid}\t0\t0\t62\t62\n" for name, wnid, _ in VALIDATION)
    made = {
        "wnids.txt": "\n".join(SHADES).encode(),
        "words.txt": b"n01\tsomething\n",
        "test/images/test_0.JPEG": jpeg(250),
        "val/val_annotations.txt": annotations.encode(),
        **{f"val/images/{name}": jpeg(shade) for name, _, shade in VALIDATION},
        **{
            f"train/{wnid}/images/{wnid}_{number}.JPEG": jpeg(shade, mode="L" if number else "RGB")
            for wnid, shades in sorted(SHADES.items())
            for number, shade in enumerate(shades)
        },
        "train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t0\t62\t62\n",
        **changed,
    }
    return {f"{TOP}/{name}": content for name, content in made.items() if content is not None}


@pytest.fixture
def archive(site, monkeypatch):
    """Puts an archive on the site and lets SOURCES point to it and, unless told otherwise, have its checksum."""
    path = site.folder / "tiny-imagenet-200.zip"

    def make(contents, *, spoil=lambda path: None, md5=None):
        pack(path, contents)
        spoil(path)
        found = hashlib.md5(path.read_bytes()).hexdigest()
        source = replace(SOURCES["tiny_imagenet"], url=f"{site.url}/{path.name}", md5=md5 or found)
        monkeypatch.setitem(SOURCES, "tiny_imagenet", source)
        return found

    return make


def test_the_archive_becomes_files_with_classes_as_in_wnids(archive, tmp_path):
    archive(members())
    root = tmp_path / "data"
    fetch("tiny_imagenet", root=root)
    assert left_in(root) == ["test.npz", "train.npz"]
    train, test = read_prepared("tiny_imagenet", root=str(root), shape=(64, 64, 3), classes=2)
    for (images, labels), shades, classes in (
        (train, [10, 40, 70, 100], [0, 0, 1, 1]),
        (test, [130, 160, 190], [1, 0, 1]),
    ):
        assert labels.tolist() == classes
        expected = torch.tensor(shades)[:, None, None, None].repeat(1, 64, 64, 3)
        expected[:, :32] -= 10
        assert (images - expected).abs().max() <= 2  # JPEG is lossy


def test_what_is_there_is_left_alone(archive, tmp_path):
    archive(members())
    train, test = fetch("tiny_imagenet", root=tmp_path / "data")
    stamp, content = train.stat().st_mtime_ns, test.read_bytes()
    test.unlink()
    assert fetch("tiny_imagenet", root=tmp_path / "data") == [test]
    assert train.stat().st_mtime_ns == stamp
    assert test.read_bytes() == content


@pytest.mark.parametrize(
    "stranger",
    ["../../stranger", f"{TOP}/../../stranger", "/tmp/stranger", "..\\..\\stranger", "C:\\stranger", "\\\\host\\stranger"],
)
def test_a_member_that_climbs_out_of_the_folder_is_refused(archive, tmp_path, stranger):
    archive(members() | {stranger: b"1"})
    fails("tiny_imagenet", tmp_path / "data", "stranger' leads out of the folder that it belongs to, so none is read")
    assert not list(tmp_path.rglob("*stranger*"))


def test_another_checksum_is_refused_before_anything_is_read(archive, tmp_path):
    expected = SOURCES["tiny_imagenet"].md5
    found = archive(members(), md5=expected)
    fails("tiny_imagenet", tmp_path / "data", f"tiny-imagenet-200.zip came with the MD5 {found}, expected was {expected}")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_truncated_archive_is_refused_by_its_checksum(archive, tmp_path):
    whole = archive(members())
    archive(members(), spoil=cut, md5=whole)
    fails("tiny_imagenet", tmp_path / "data", f"came with the MD5 .*, expected was {whole}")


@pytest.mark.parametrize("spoil", [cut, lambda path: path.write_text("<html>moved</html>"), spoil_first_member])
def test_an_archive_that_cannot_be_read_is_refused_whatever_its_checksum(archive, tmp_path, spoil):
    archive(members(), spoil=spoil)
    fails("tiny_imagenet", tmp_path / "data", "tiny-imagenet-200.zip is no zip archive of Tiny ImageNet")


FIRST = "train/n01/images/n01_0.JPEG"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"wnids.txt": None}, f"no item named '{TOP}/wnids.txt'"),
        ({"wnids.txt": b""}, "0 to 0 images in each of the 0 classes"),
        ({"wnids.txt": b"\xff\xfe"}, "can't decode"),
        ({"wnids.txt": b"n01\nn02\nn03"}, "0 to 2 images in each of the 3 classes that wnids.txt names"),
        ({FIRST: None}, "1 to 2 images in each of the 2 classes"),
        ({"val/val_annotations.txt": None}, f"no item named '{TOP}/val/val_annotations.txt'"),
        ({"val/val_annotations.txt": b""}, "val_annotations.txt is empty"),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn03\t0\n"}, "val_annotations.txt has the line 'val_0.JPEG.*n03"),
        ({"val/val_annotations.txt": b"val_0.JPEG"}, "val_annotations.txt has the line 'val_0.JPEG'"),
        ({"val/images/val_1.JPEG": None}, f"no item named '{TOP}/val/images/val_1.JPEG'"),
        ({FIRST: b"no image"}, "n01_0.JPEG is no JPEG image, or a broken one"),
        ({FIRST: b""}, "n01_0.JPEG is no JPEG image, or a broken one"),
        ({FIRST: jpeg(10)[:-200]}, "n01_0.JPEG is no JPEG image, or a broken one"),
        ({FIRST: jpeg(10, kind="PNG")}, "n01_0.JPEG is no JPEG image, or a broken one"),
        ({FIRST: enormous()}, "n01_0.JPEG is no JPEG image, or a broken one"),
        ({FIRST: jpeg(10, size=(32, 64))}, "n01_0.JPEG is an image of 32 x 64 pixels; expected are 64 x 64"),
        ({"val/images/val_1.JPEG": jpeg(10, size=(64, 65))}, "val_1.JPEG is an image of 64 x 65 pixels"),
    ],
)
def test_an_archive_of_another_content_is_refused(archive, tmp_path, changed, says):
    archive(members(**changed))
    fails("tiny_imagenet", tmp_path / "data", says)


def test_the_pixels_are_held_once(tmp_path):
    images = {f"train/n0{c}/images/{i}.JPEG": jpeg(50) for c in (1, 2) for i in range(150)}
    pack(tmp_path / "zip", {f"{TOP}/{name}": content for name, content in (images | {"wnids.txt": b"n01 n02"}).items()})
    with zipfile.ZipFile(tmp_path / "zip") as archive:
        read_archive(archive, "train")  # what is allocated once, at the first image
        tracemalloc.start()
        pixels, _ = read_archive(archive, "train")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(pixels) == 300
    assert pixels.nbytes < peak < 1.2 * pixels.nbytes


@pytest.mark.parametrize("classes", [0, 1, 2.5, True, "200"])
def test_impossible_numbers_of_classes_are_refused(tmp_path, classes):
    with pytest.raises(ValueError, match=f"classes={classes!r}: a whole number from 2 up is expected"):
        tiny_imagenet(root=str(tmp_path), classes=classes)


@pytest.mark.slow
def test_tiny_imagenet_is_tiny_imagenet(real_data):
    (images, labels), (test_images, test_labels) = read_prepared(
        "tiny_imagenet", root=str(real_data("tiny_imagenet")), shape=(64, 64, 3), classes=200
    )
    classes = int(labels.max()) + 1
    assert classes >= 20
    assert torch.bincount(labels).tolist() == [500] * classes
    assert torch.bincount(test_labels).tolist() == [50] * classes
    yaml = OmegaConf.load(conf() / "dataset" / "tiny_imagenet.yaml")
    for part in (images[::5], test_images):  # maybe of some classes only, hence the wide tolerance
        pixels = part.flatten(0, 2).float() / 255
        torch.testing.assert_close(pixels.mean(0), torch.tensor(yaml.mean), atol=0.03, rtol=0)
        torch.testing.assert_close(pixels.std(0), torch.tensor(yaml.std), atol=0.03, rtol=0)
