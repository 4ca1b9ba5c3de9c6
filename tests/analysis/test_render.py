from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from adaptive_bench.analysis import Table, notes, print_text, read, render, table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.analysis.conftest import Results


@pytest.fixture
def tables(two_by_three: Results) -> list[Table]:
    two_by_three.add("50%_a|b & {c}", seed=0, curve=[(0, 10), (1000, 20)])
    two_by_three.add("fixed_small", dataset="ci_far")
    return table(read(two_by_three.folder))


def test_markdown_parses_back(tables: list[Table]) -> None:
    text = render(tables, "md")
    assert text.count("\n## ") + text.startswith("## ") == 2
    rows = [line for line in text.splitlines() if line.startswith("| jump")]
    assert [cell.strip() for cell in rows[0].strip("|").split("|")][8:10] == ["93.00 [87.28, 96.26]", "+2.00 [-0.48, +4.48]"]
    assert r"50%_a\|b & {c}" in text
    assert all(f"- {note}" in text for each in tables for note in notes(each))


def test_csv_parses_back(tables: list[Table]) -> None:
    rows = {(row["workload"], row["label"]): row for row in csv.DictReader(io.StringIO(render(tables, "csv")))}
    jump = rows["digits / mlp", "jump"]
    assert float(jump["final_mean"]) == pytest.approx(93)
    assert float(jump["final_low"]) == pytest.approx(87.2779327)
    assert float(jump["speedup_samples_high"]) == pytest.approx(11.19, abs=0.001)
    assert jump["speedup_seconds_method"] == "paired t"
    assert float(jump["samples_trained"]) == pytest.approx(1000)
    assert float(jump["updates"]) == pytest.approx(4032 ** (1 / 3))
    assert float(jump["training_seconds_mean"]) == pytest.approx(1.25)
    assert float(jump["training_seconds_low"]) == pytest.approx(0.06334, abs=1e-5)
    assert float(jump["training_seconds_high"]) == pytest.approx(24.668, abs=1e-3)
    assert not [name for name in jump if name.startswith("published")]
    miss = rows["digits / mlp", "50%_a|b & {c}"]
    assert miss["samples_to_target_mean"] == "inf"
    assert miss["missing_seeds"] == "1 2"
    assert rows["ci_far / mlp", "fixed_small"]["difference_mean"] == ""


def test_json_parses_back_and_is_strict(tables: list[Table]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    cifar, digits = json.loads(render(tables, "json"), parse_constant=refuse)
    assert (cifar["title"], digits["baseline"]) == ("ci_far / mlp", "fixed_small")
    assert digits["target"] == pytest.approx(86)
    assert digits["notes"]
    assert not [row for row in digits["rows"] if "published" in row]
    rows = {row["label"]: row for row in digits["rows"]}
    assert rows["50%_a|b & {c}"]["training_seconds_mean"] == pytest.approx(1)
    assert rows["50%_a|b & {c}"]["training_seconds_low"] is None
    assert rows["fixed_small"]["samples_trained"] == pytest.approx(2000)
    assert rows["fixed_small"]["updates"] == pytest.approx(252_000 ** (1 / 3))
    assert rows["jump"]["difference_mean"] == pytest.approx(2)
    assert rows["fixed_small"]["difference_mean"] is None
    assert rows["50%_a|b & {c}"]["seconds_to_target_mean"] == "inf"
    assert rows["50%_a|b & {c}"]["missing_seeds"] == [1, 2]


def test_latex_parses_back(tables: list[Table]) -> None:
    text = render(tables, "tex")
    rows = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.startswith("jump &")]
    assert text.count(r"\end{table}") == text.count(r"\caption") == 2
    assert len(rows) == text.split(r"\end{table}")[1].count(r"\toprule") > 1
    assert rows[0][1] == "no difference shown"
    assert "+2.00 [-0.48, +4.48]" in [cell for row in rows for cell in row]
    assert all(len(" & ".join(row)) <= 80 for row in rows)
    assert r"50\%\_a\textbar{}b \& \{c\}" in text
    assert r"\caption{ci\_far / mlp}" in text
    assert r"95 \% of the way" in text
    assert not [line for line in text.splitlines() if "%" in line.replace(r"\%", "") and not line.startswith("%")]


@pytest.mark.slow
def test_latex_compiles_in_an_article_and_is_no_wider_than_its_page(results: Results, tmp_path: Path) -> None:
    for seed in range(3):
        results.add(seed=seed)
        for at, name in enumerate(("\u4e2d\u6587 \u0105\u00e9\u00df \u00ab\u00bb", "a<b>c|d^e~f\\g$h#", "x" * 25)):
            results.add(name, seed=seed, size=40 + at, curve=[(0, 10), (900 + 40 * at + seed, 90)])
    results.add_diverged("deba", seed=0)
    _compile(results, tmp_path, pages=2)


@pytest.mark.slow
def test_latex_of_a_few_arms_fits_one_page(two_by_three: Results, tmp_path: Path) -> None:
    _compile(two_by_three, tmp_path, pages=1)


@pytest.mark.slow
def test_latex_of_more_arms_than_a_page_holds_goes_on_on_the_next(results: Results, tmp_path: Path) -> None:
    for at in range(80):
        for seed in range(2):
            results.add(f"arm{at}", seed=seed, size=40 + at, curve=[(0, 10), (900 + 40 * at + seed, 90)])
    _compile(results, tmp_path, pages=3)


def _compile(results: Results, folder: Path, *, pages: int) -> None:
    if not (pdflatex := shutil.which("pdflatex")):
        pytest.skip("no pdflatex is installed (Debian: texlive-latex-recommended)")
    body = render(table(read(results.folder)), "tex")
    page = f"\\documentclass{{article}}\n\\usepackage{{booktabs,longtable}}\n\\begin{{document}}\n{body}\\end{{document}}\n"
    (folder / "page.tex").write_text(page, encoding="utf-8")
    for _ in range(2):  # a longtable knows its widths the second time
        command = [pdflatex, "-halt-on-error", "page.tex"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout
    assert f"({pages} page" in ran.stdout
    assert "Overfull" not in ran.stdout and "too large" not in ran.stdout
    assert "Missing character" not in (folder / "page.log").read_text(errors="replace")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_of_any_width_cuts_nothing_off(results: Results, width: int) -> None:
    for seed in range(3):
        for at in range(4):
            results.add(f"confidence_reversed_{at}", seed=seed, size=40 + at, curve=[(0, 10), (900 + 40 * at + seed, 90)])
    console = Console(file=io.StringIO(), width=width)
    print_text(table(read(results.folder)), console, wide=True)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\u2026" not in text and max(map(len, text.splitlines())) <= width
    assert text.count("confidence_reversed_3 ") > 2 and "+0.00 [-0.10, +0.10]" in text


def test_an_unknown_format_lists_the_known(tables: list[Table]) -> None:
    with pytest.raises(ValueError, match="md, csv, tex, json"):
        render(tables, "xlsx")
