"""Every number in results/ comes from the committed records: they make the same tables, figures and pages again."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from adaptive_bench.analysis.judge import Statement

ROOT = Path(__file__).parents[1]
MADE = ("README.md", "tables/*.tex", "reports/*.html", "figures/*.svg")  # each table has a tex beside its md


def test_every_claim_has_one_way_to_be_judged() -> None:
    claims = yaml.safe_load((ROOT / "results/claims.yaml").read_text())
    studies = yaml.safe_load((ROOT / "results/studies.yaml").read_text())
    places = {place for study in studies.values() for place in study["at"]}
    ids = [claim["id"] for claim in claims["claims"]]
    assert len(set(ids)) == len(ids) == 171  # 138 of the documents, 33 of the papers behind them
    assert len([one for one in ids if not one.startswith("S")]) == 138
    for claim in claims["claims"]:
        assert len({"tests", "needs", "measured", "by_count"} & claim.keys()) == 1, claim["id"]
        for test in claim.get("tests", ()):
            for side in (test, test | test.get("than", {})):
                assert side["at"] in (places if "level" not in side else studies), claim["id"]
                if side["of"] != "rate":
                    Statement(**{key: value for key, value in side.items() if key not in ("at", "than", "level")})
    for each in claims["surprises"]:
        assert {test["at"] for test in each["tests"]} <= places, each["says"]
    assert {side for each in claims["contradictions"] for side in each["sides"]} <= {*ids}


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute alone; several on a machine that does other things
def test_the_records_make_the_committed_tables_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.evidence", "tables", "--into", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=800)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(ROOT / "results") for form in MADE for path in (ROOT / "results").glob(form)}
    assert kept | {path.with_suffix(".md") for path in kept if path.suffix == ".tex"} == made
    for path in sorted(made):
        assert (tmp_path / path).read_bytes() == (ROOT / "results" / path).read_bytes(), path
