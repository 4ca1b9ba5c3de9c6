"""A run is what its files hold, wherever they lie."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from adaptive_bench.experiment.fingerprint import by_content
from adaptive_bench.experiment.record import Identity
from tests.conftest import composed


def run(*overrides: str) -> str:
    """The digest of the run."""
    settings = OmegaConf.to_container(composed(*overrides), resolve=False)
    del settings["hydra"]
    return Identity.of(by_content(settings)).run


def text(root, train: str = "a b\n"):
    folder = root / "ptb"
    folder.mkdir(parents=True)
    for part, content in {"train": train, "valid": "a\n", "test": "b\n"}.items():
        (folder / f"ptb.{part}.txt").write_text(content)
    return f"dataset.root={root}"


def images(root, value: int = 0):
    folder = root / "cifar10"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        np.savez(folder / f"{part}.npz", images=np.full((2, 32, 32, 3), value, np.uint8), labels=np.arange(2))
    return f"dataset.root={root}"


@pytest.mark.parametrize(("dataset", "make", "other"), [("ptb", text, "a c\n"), ("cifar10", images, 1)])
def test_a_data_set_is_told_by_its_files_and_not_by_its_folder(tmp_path, dataset, make, other):
    chosen = f"dataset={dataset}"
    first = run(chosen, make(tmp_path / "one"))
    assert run(chosen, make(tmp_path / "elsewhere")) == first
    assert run(chosen, make(tmp_path / "other", other)) != first


def test_what_has_no_files_has_no_content(tmp_path):
    settings = OmegaConf.to_container(composed("dataset=digits"), resolve=False)
    assert by_content(settings)["dataset"] == settings["dataset"]
    absent = OmegaConf.to_container(composed("dataset=ptb", f"dataset.root={tmp_path}"), resolve=False)
    assert by_content(absent)["dataset"]["content"] == ""


def test_a_users_own_data_set_is_told_by_its_files(tmp_path):
    def content(**more: object) -> str:
        settings = OmegaConf.to_container(composed("dataset=ptb"), resolve=False)
        return by_content(settings | {"dataset": {"_target_": "mine.stripes", "root": str(tmp_path), **more}})["dataset"][
            "content"
        ]

    (tmp_path / "stripes").mkdir()
    assert content() == ""
    (tmp_path / "stripes" / "some.txt").write_text("a")
    first = content()
    assert content(download="a setting of its own") == first != ""
    (tmp_path / "stripes" / "some.txt").write_text("b")
    assert content() != first


def test_a_control_inside_a_control_does_not_know_where_results_are(tmp_path):
    inner = "{_target_: adaptive_bench.schedulers.controls.MeanMatched, results: DIR, trace: null, schedule: null}"
    digests = {
        run("scheduler=reversed", f"scheduler.schedule={inner.replace('DIR', folder)}", f"results={folder}") for folder in "ab"
    }
    assert len(digests) == 1
