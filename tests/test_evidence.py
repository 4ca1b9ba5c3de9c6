"""Every number in results/ comes from the committed records: they make the same tables, figures and pages again."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MADE = ("README.md", "tables/*.tex", "reports/*.html", "figures/*.svg")  # each table has a tex beside its md


@pytest.mark.slow
def test_the_records_make_the_committed_tables_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.evidence", "tables", "--into", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=200)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(ROOT / "results") for form in MADE for path in (ROOT / "results").glob(form)}
    assert kept | {path.with_suffix(".md") for path in kept if path.suffix == ".tex"} == made
    for path in sorted(made):
        assert (tmp_path / path).read_bytes() == (ROOT / "results" / path).read_bytes(), path
