"""The evidence of results/README.md: runs of a study, its tables from committed records, or the same once more from data.

`run NAME` trains what is missing into results/evidence/NAME and folds it; it goes on where it stopped. `tables [NAME ...]` makes
results/tables, figures and reports from the folded records, and results/README.md. `profile NAME` measures step times, on a
machine that does nothing else. `reproduce NAME|TABLE` trains into results/reproduced and compares.
"""

import argparse
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from omegaconf import OmegaConf

from adaptive_bench.__main__ import main
from adaptive_bench.analysis import Runs, Table, figures, read, read_goals, read_profile, render, report, table
from adaptive_bench.files import replacing

RESULTS = Path("results")
CLOCKED = ("goodput", "memory")  # arms whose sizes follow the machine's clock or memory
COMPARED = ["final", "best", "samples", "steps"]  # columns of a record that another machine must repeat


@cache
def studies() -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(RESULTS / "studies.yaml"))
    assert isinstance(found, dict)
    return {str(name): study for name, study in found.items()}


def is_there(name: str) -> bool:
    """Whether all runs of a study are there; what is committed of another one only saves training it again."""
    return studies()[name]["minutes"] is not None


def call(*words: str) -> None:
    print("adaptive-bench", shlex.join(words), flush=True)
    if main([*words]):
        raise SystemExit(f"adaptive-bench {words[0]} did not end well (see above); the runs that are done stay, so try again")


def run(study: dict[str, Any], folder: Path, *, data: str, jobs: int) -> None:
    """Tune, set the targets, train, train the controls, fold; whatever is done already is skipped."""
    goal, common = study["targets"], [f"hydra.launcher.n_jobs={jobs}", "progress=false"]
    for name, own in study["sweeps"].items():
        sweep, rates = own.get("sweep", name), folder / f"{name}.yaml"
        words = [*(word.replace("{data}", data) for word in own.get("overrides", [])), *common]
        shorter = [f"epochs={study['tuning_epochs']}"] if "tuning_epochs" in study else []
        arms = [f"arm={own['arms']}"] if "arms" in own else []
        if "tune" in study and not rates.exists():
            flags = shlex.split(study["tune"])
            call("tune", sweep, *flags, "-o", str(rates), f"results={folder}", *words, *arms, *shorter)
        tuned = [*words, *([f"optimizer.lr=${{tuned:{rates}}}"] if "tune" in study else [])]
        if "workload" not in own:
            others = [f"sweep={goal.get('sweep', sweep)}", *goal.get("overrides", []), f"arm={goal['arm']}"]
            call("train", *others, f"seed={goal['seeds']}", *tuned, f"results={folder / 'others'}")
        call("train", f"sweep={sweep}", *tuned, *arms, f"results={folder}")
        if "calibrated" in study:
            known, tried = folder / f"{name}.calibration.yaml", OmegaConf.load(rates).arms
            fixed = [*words, f"optimizer.lr={tried.deba.chosen}"]
            if not known.exists():
                call("calibrate", f"sweep={sweep}", *fixed, f"results={folder}", "-o", str(known))
            for arm in study["calibrated"]:
                # ++, because what all runs share is composed first, with a scheduler that has no calibration
                calibrated = [f"arm={arm}", f"++scheduler.calibration={known}", f"results={folder}"]
                call("train", f"sweep={sweep}", *(tuned if arm in tried else fixed), *calibrated)
    call("targets", str(folder / "others"), "-o", str(folder / "targets.yaml"), "--fraction", str(goal["fraction"]))
    for arm in study.get("controls", []):
        call("controls", str(folder), arm, *common)
    for part in (folder, folder / "tuning", folder / "others"):
        if (part / "runs").exists():
            call("compact", str(part))


def profile(study: dict[str, Any], folder: Path, *, data: str) -> None:
    """Step times of every workload, on a machine that does nothing else; the seconds of all tables are replayed under them."""
    for name, own in study["sweeps"].items():
        if "profile" not in own:  # it is on the workload of another sweep, or of sentences, which have none
            continue
        words = own["profile"].replace("{data}", data).split()
        call("profile", *words, "threads=1", "progress=false", "-o", str(folder / "profiles" / f"{name}.yaml"))


def profiles(name: str) -> list[Path]:
    return sorted((RESULTS / "evidence" / name / "profiles").glob("*.yaml"))


def tables(name: str, study: dict[str, Any], *, into: Path) -> None:
    """The study's table as md and tex, its report, and two figures of each workload, all from its records."""
    asked = question(name) | {"baseline": study.get("baseline")}
    for kind in ("tables", "figures", "reports"):
        (into / kind).mkdir(parents=True, exist_ok=True)
    wide = table(folded(name), wide=True, **asked)
    for form in ("md", "tex"):
        with replacing(into / "tables" / f"{name}.{form}") as part:
            part.write_text(render(wide, form) + "\n")
    report(folded(name), into / "reports" / f"{name}.html", **asked)
    for made in wide:
        title = re.sub(r"[^\w.=]+", "-", made.title).strip("-")
        for kind, figure in (("forest", figures.forest(made, of="speedup")), ("curves", figures.curves(folded(name), made))):
            figures.save(figure, into / "figures" / f"{name}-{title}-{kind}.svg")


@cache
def folded(name: str) -> Runs:
    return read(RESULTS / "evidence" / name)


@cache
def question(name: str) -> dict[str, Any]:
    """What all tables of a study are asked, whatever their baseline."""
    return {
        "targets": read_goals(RESULTS / "evidence" / name / "targets.yaml"),
        "devices": [*map(read_profile, profiles(name))],
        "allow_mixed_versions": studies()[name].get("mixed_versions", False),
    }


@cache
def made_tables(name: str, baseline: str | None = None) -> list[Table]:
    return table(folded(name), baseline=baseline, **question(name))


def compare(name: str, again: Path) -> int:
    """Print how the runs that were trained again differ from the committed ones; the number of those that do."""
    kept, new = ({row["run"]: row for row in read(at).records.to_dict("records")} for at in (RESULTS / "evidence" / name, again))
    timed = {run for run, row in kept.items() if row["arm"] in CLOCKED}
    both, missing = sorted((kept.keys() & new.keys()) - timed), kept.keys() - new.keys()
    differing = [run for run in both if not np.array_equal(values(kept[run]), values(new[run]), equal_nan=True)]
    print(
        f"{name}: {len(both) - len(differing)} of {len(both)} runs have the same {', '.join(COMPARED)}; {len(missing)} missing;"
    )
    print(f"{len(timed)} more follow the machine's clock or memory ({', '.join(CLOCKED)}) and are not compared")
    for run in differing:
        print(f"differs: {kept[run]['arm']} seed={kept[run]['seed']}: {values(kept[run])} then, {values(new[run])} now")
    return len(differing) + len(missing)


def values(record: dict[Any, Any]) -> list[float]:
    return [float(record[column]) for column in COMPARED]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "profile", "tables", "reproduce"))
    parser.add_argument("names", nargs="*", help="studies of results/studies.yaml, or the letters of their tables; none: all")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where tables go (default: results)")
    parser.add_argument("--data", default="data", help="the folder of the data sets (default: data)")
    parser.add_argument("--jobs", type=int, default=-1, help="runs, or tables, beside each other (default: one a core)")
    return parser.parse_args()


def entry() -> int:
    chosen, known = parsed(), studies()
    asked = [name for name, study in known.items() if not chosen.names or {name, *study["tables"]} & {*chosen.names}]
    if not asked:
        sys.exit(f"no study and no table is called {' or '.join(chosen.names)}; there are {', '.join(known)}")
    if chosen.command == "tables":
        for name in asked:
            if not is_there(name):
                print(f"{name}: not run yet")
        Parallel(n_jobs=chosen.jobs)(delayed(tables)(name, known[name], into=chosen.into) for name in asked if is_there(name))
        if not chosen.names:
            from scripts.claims import readme  # it needs this module

            readme(chosen.into)
        return 0
    differing = 0
    for name in asked:
        if chosen.command == "profile":
            profile(known[name], RESULTS / "evidence" / name, data=chosen.data)
        else:
            folder = RESULTS / ("evidence" if chosen.command == "run" else "reproduced") / name
            run(known[name], folder, data=chosen.data, jobs=chosen.jobs)
            differing += compare(name, folder) if chosen.command == "reproduce" else 0
    return int(differing > 0)


if __name__ == "__main__":
    from scripts.evidence import entry as once  # not a second module of the same code, which would read everything again

    sys.exit(once())
