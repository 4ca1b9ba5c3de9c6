from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from adaptive_bench import compact
from adaptive_bench.analysis import read, report

if TYPE_CHECKING:
    from tests.analysis.conftest import Results

VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """The tags of a page; refuses one that is closed wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alternatives: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "svg" and "aria-hidden" not in values:
            assert values["role"] == "img"
            self.alternatives.append(values["aria-label"] or "")
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(results_in: Callable[[Path], Results], tmp_path_factory: pytest.TempPathFactory) -> str:
    results = results_in(tmp_path_factory.mktemp("report"))
    results.add_two_by_three()
    results.add("<script>alert('x')</script> $a$", seed=0, scheduler="gns", block_scheduler="linear")
    results.add_diverged("deba", seed=0)
    results.add("fixed_small", dataset="cifar10")
    return report(read(results.folder), results.folder / "new" / "report.html").read_text()


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert all(source.startswith(("data:", "#")) for source in parser.sources)
    assert "http" not in page
    assert len(set(parser.ids)) == len(parser.ids)
    assert {source[1:] for source in parser.sources if source.startswith("#")} <= {*parser.ids}


def test_the_answer_stands_before_figures_and_the_wide_table_last(page: str) -> None:
    section = page.split("<h2>digits / mlp</h2>")[1]
    order = [
        "Against <b>fixed_small</b>:", "fixed_small is the baseline:", "speed-up in samples (right is faster)", "Curves near",
        "Sizes over training", "What is paid, and what is got", "All numbers", "Runs (8)",
    ]  # fmt: skip
    places = [section.index(text) for text in order]
    assert places == sorted(places)


def test_it_shows_every_arm_and_run(page: str) -> None:
    for text in ("digits / mlp", "cifar10 / mlp", "fixed_small", "jump", "deba", "93.00 [87.28, 96.26]", "abc123", "2.13"):
        assert text in page
    assert page.count('class="bad-run"') == 1
    assert "loss is nan" in page
    assert "Runs (8)" in page
    assert "Runs (1)" in page


def test_every_run_has_its_settings_and_curves_and_shared_ones_are_said_once(page: str) -> None:
    section = page.split("<h2>digits / mlp</h2>")[1]
    jump = section.split("jump (3)</summary>")[1].split("</details>")[0]
    assert jump.count("validation against samples") == jump.count("batch size against samples") == 3
    assert re.search("<pre>[^<]*scheduler.initial: 64[^<]*</pre>", jump)
    assert section.count("dataset.train_size: 1000") == 1


def test_it_says_what_the_runs_were_made_with_and_nothing_else(page: str) -> None:
    table = page.split("What the runs were made with")[1].split("</details>")[0]
    assert re.findall('<th scope="row">(.*?)</th>', table) == [
        "commit",
        "dirty",
        "sources",
        "device",
        "threads",
        "jobs",
        "allocator",
        "torch",
    ]


def test_labels_are_escaped(page: str) -> None:
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;alert(" in page


def test_whatever_a_figure_refers_to_is_on_the_page(page: str) -> None:
    named = re.findall(r'\bid="([^"]+)"', page)
    used = re.findall(r'(?:xlink:)?href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert not {one or other for one, other in used} - {*named}
    assert len(named) == len(set(named))
    assert any("C0_" in one for one, _ in used)  # the points of a forest


def test_a_compacted_run_has_the_small_curves_of_a_plain_one(results: Results, tmp_path: Path) -> None:
    folder = results.add("jump", size=32, curve=[(0, 10), (640, 90)])
    trace = pd.read_parquet(folder / "trace.parquet")
    sizes = ["batch_size", "batch_size_granted"]
    trace.loc[trace["samples"] > 320, sizes] = 128
    trace.loc[trace.index[-1], sizes] = 7  # cut by the budget
    trace.to_parquet(folder / "trace.parquet")
    pages = [report(read(results.folder), tmp_path / "plain.html").read_text()]
    compact.fold(results.folder)
    pages.append(report(read(results.folder), tmp_path / "compacted.html").read_text())
    (plain, *_), (folded, *_) = (
        re.findall(r'aria-label="batch size against samples"[^>]*><polyline points="([^"]+)"', each) for each in pages
    )
    assert plain == folded
    assert [point.split(",")[1] for point in plain.split()] == ["27", "27", "1", "1"]  # level, then level


def test_every_figure_says_what_it_shows(page: str) -> None:
    parser = Page()
    parser.feed(page)
    arms = "fixed_small, <script>alert('x')</script> $a$, jump"
    assert f"digits / mlp: validation accuracy (%) against samples. Arms: {arms}." in parser.alternatives
    assert any("block size against samples" in text for text in parser.alternatives)
    assert all(parser.alternatives)


def test_a_path_that_cannot_be_written_is_refused_and_leaves_nothing(results: Results, tmp_path: Path) -> None:
    results.add()
    runs = read(results.folder)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "file" / "report.html"):
        with pytest.raises(ValueError, match="cannot be written"):
            report(runs, path)
    assert not list(tmp_path.glob(".*"))


def test_a_page_that_fails_leaves_nothing(results: Results, tmp_path: Path) -> None:
    (results.add() / "trace.parquet").unlink()
    with pytest.raises(ValueError, match=r"trace\.parquet cannot be read"):
        report(read(results.folder), tmp_path / "report.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("target", [None, 99.0])
def test_a_single_diverged_run_still_makes_a_page(results: Results, tmp_path: Path, target: float | None) -> None:
    results.add_diverged("deba", seed=0)
    assert "deba" in report(read(results.folder), tmp_path / "report.html", target=target).read_text()


def test_a_new_page_replaces_the_old(results: Results, tmp_path: Path) -> None:
    results.add()
    path = tmp_path / "report.html"
    path.write_text("old")
    report(read(results.folder), path)
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "results"]
