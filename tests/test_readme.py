"""The commands of "Check a claim", as they stand in the README."""

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def commands() -> list[list[str]]:
    section = README.read_text().split("## Check a claim")[1].split("\n## ")[0]
    return [shlex.split(line)[1:] for line in re.findall("^adaptive-bench .*$", section, flags=re.M)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_lead_from_a_claim_to_a_verdict(cli):
    found = commands()
    assert [words[0] for words in found] == ["tune", "train", "targets", "train", "controls", "profile", "tables", "report"]
    printed = {}
    for words in found:
        code, printed[words[0]], err = cli(*words)
        assert code == 0, (words, err)
    table = " ".join(printed["tables"].split())
    assert "Verdicts: updates to the target against fixed_small" in table
    assert "claim/targets.yaml" in table
    assert "Learning rates: tuned" in table
    assert re.search("gns against its controls: variation .* order .* feedback ", table)
    assert "Replayed seconds" in table
    page = Path("claim/report.html").read_text()
    assert "What the arm has that its controls have not" in page
