"""results/README.md: every claim of results/claims.yaml with the verdict of the committed runs."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from omegaconf import OmegaConf

from adaptive_bench.analysis import Interval, cells, judge
from adaptive_bench.analysis.judge import Statement
from scripts.evidence import RESULTS, folded, is_there, made_tables, profiles, studies

NOT_TESTABLE, OPEN = "not testable here", "not run yet"
RULES = {None: judge.together, "all": judge.every, "mostly": judge.mostly, "varies": judge.varies}
KINDS = (judge.SUPPORTED, judge.CONTRADICTED, judge.UNDECIDED, NOT_TESTABLE, OPEN)


def readme(into: Path) -> None:
    """results/README.md: every claim with its verdict."""
    known = studies()
    claims = OmegaConf.to_container(OmegaConf.load(RESULTS / "claims.yaml"))
    assert isinstance(claims, dict)
    places = {place: (name, title) for name, study in known.items() if is_there(name) for place, title in study["at"].items()}
    lines = [line(claim, places) for claim in claims["claims"]]
    counts = Counter((each["id"].startswith("S"), each["kind"]) for each in lines)
    sources = dict.fromkeys(each["source"] for each in lines)
    page = jinja2.Template(
        (RESULTS / "README.md.j2").read_text(), trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = page.render(
        counts=[{"kind": kind, "claims": counts[False, kind], "papers": counts[True, kind]} for kind in KINDS],
        surprises=[surprise(each, places) for each in claims["surprises"]],
        studies=[described(name, study) for name, study in known.items()],
        documents=[{"source": source, "claims": [each for each in lines if each["source"] == source]} for source in sources],
        contradictions=[
            each | {"verdicts": "; ".join(f"{one['id']}: {one['kind']}" for one in lines if one["id"] in each["sides"])}
            for each in claims.get("contradictions", [])
        ],
    )
    (into / "README.md").write_text(text.rstrip() + "\n")


def line(claim: dict[str, Any], places: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """A claim with the verdict of its tests; `kind` is one of KINDS."""
    shown = {name: claim[name] for name in ("id", "source", "says", "setting")} | {"decisive": claim.get("decisive", False)}
    if "needs" in claim:
        return shown | {"kind": NOT_TESTABLE, "verdict": f"{NOT_TESTABLE}: needs {claim['needs']}", "evidence": "-"}
    if "by_count" in claim or "measured" in claim:
        kind = claim.get("verdict", OPEN)
        return shown | {"kind": kind, "verdict": kind, "evidence": claim.get("by_count") or claim["measured"]}
    tests = claim["tests"]
    found = [each for test in tests if (each := finding(test, places))]
    if not found:
        return shown | {"kind": OPEN, "verdict": OPEN, "evidence": ", ".join(sorted({test["at"] for test in tests}))}
    left = len(tests) - len(found)
    kind = RULES[claim.get("rule")](found)
    if claim.get("rule") == "all" and left and kind == judge.SUPPORTED:
        kind = judge.UNDECIDED
    if claim.get("rule") == "varies":
        verdict = f"{kind} (signs {'differ' if kind == judge.SUPPORTED else 'do not differ clearly'} between workloads)"
    else:
        counts = Counter(each.verdict for each in found)
        others = {judge.SUPPORTED: "support", judge.CONTRADICTED: "contradict"}
        rest = "".join(f"; {counts[other]} {word}" for other, word in others.items() if other != kind and counts[other])
        verdict = f"{kind} (tests: {counts[kind]} of {len(found)}{rest})"
    evidence = "; ".join(map(written, found)) + (f"; {left} more to come" if left else "")
    evidence += f". {claim['note']}" if "note" in claim else ""
    return shown | {"kind": kind, "verdict": verdict, "evidence": evidence}


def surprise(each: dict[str, Any], places: dict[str, tuple[str, str]]) -> str:
    found = [one for test in each["tests"] if (one := finding(test, places))]
    assert len(found) == len(each["tests"]), f"a test of this surprise has no runs: {each['says']}"
    return f"{each['says']} ({'; '.join(map(written, found))}.)"


def written(found: judge.Finding) -> str:
    one = found.statement
    could = f", could have seen {found.could_have_seen}" if found.could_have_seen and found.verdict == judge.UNDECIDED else ""
    return f"{found.title}: {one.arm} against {one.against}, {one.of} {found.effect}{could}"


def finding(test: dict[str, Any], places: dict[str, tuple[str, str]]) -> judge.Finding | None:
    """What the studies say of a test of claims.yaml; None if they have not trained an arm, or measured the rate.

    The title names the study, where several have this workload.
    """
    if "level" in test:
        return correlation(test, places)
    sides = [{key: value for key, value in test.items() if key != "than"}]
    sides += [sides[0] | test["than"]] if "than" in test else []
    if not {side["at"] for side in sides} <= places.keys():
        return None
    if test["of"] == "rate":
        return rate(*places[test["at"]], batch=test["batch"], against=test["against"])
    asked = []
    for side in sides:
        name, title = places[side.pop("at")]
        statement, runs = Statement(**side), folded(name)
        baseline = statement.against if isinstance(statement.against, str) else None
        if not {statement.arm, baseline or statement.arm} <= set(runs.records.loc[runs.records["title"] == title, "label"]):
            return None
        asked.append((statement, next(made for made in made_tables(name, baseline) if made.title == title), runs))
    found = judge.judge(*asked[0], than=asked[1] if len(asked) > 1 else None)
    name, title = places[test["at"]]
    same = {other for other, titled in places.values() if titled == title}
    return found if len(same) == 1 else replace(found, title=found.title.replace(title, f"{title} ({name})", 1))


def correlation(test: dict[str, Any], places: dict[str, tuple[str, str]]) -> judge.Finding | None:
    """Whether an effect is larger on the workloads of a study whose calibration has a higher `level`; None until all have run."""
    asked, name = {key: value for key, value in test.items() if key != "level"}, test["at"]
    found = [finding(asked | {"at": place}, places) for place in studies()[name]["at"]]
    effects = [each for each in found if each]
    if len(effects) < len(found):
        return None
    files = [RESULTS / "evidence" / name / f"{place}.calibration.yaml" for place in studies()[name]["at"]]
    levels = [float(OmegaConf.load(file).levels[test["level"]]) for file in files]
    return judge.correlated(test["level"], levels, effects, expects=test["expects"])


def rate(name: str, title: str, *, batch: int, against: int) -> judge.Finding | None:
    """The samples a second of a profile at one batch size over those at another; the interval is that of both step times."""
    for path in profiles(name):
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
        if title == f"{content['dataset']} / {content['model']}":
            steps = {int(step["batch"]): step for step in content["steps"]}
            ends = (("seconds", "seconds"), ("high", "low"), ("low", "high"))
            mean, low, high = (batch / steps[batch][one] * steps[against][other] / against for one, other in ends)
            return judge.Finding(
                statement=Statement(arm=f"batch {batch}", against=f"batch {against}", of="samples a second", expects="more"),
                title=title,
                verdict=judge.judged(math.log(low), math.log(high), expects="more", least=0.0),
                sign=int(low > 1) - int(high < 1),
                effect=cells.speedup(Interval(mean=mean, low=low, high=high, n=1)),
                could_have_seen="",
            )
    return None


def fixed_sizes(records: pd.DataFrame, titles: Iterable[str]) -> str:
    """Where the smallest and the largest fixed size of each workload end, at the best of their settings; "-" has none."""
    fixed = records[(records["scheduler"] == "fixed") & (records["block_scheduler"] == "fixed")]
    words = []
    for title in titles:
        runs = fixed[fixed["title"] == title]
        if runs.empty:
            words.append("-")
            continue
        sizes = runs.assign(size=runs["first_batch_size"] * runs["first_block_size"])
        ends = sizes.groupby(["size", "label"])["final"].mean().groupby("size").agg("max" if runs["maximise"].iloc[0] else "min")
        words.append(", ".join(f"{size:,.0f}: {ends[size]:.3g}" for size in (ends.index[0], ends.index[-1])))
    return "; ".join(words)


def described(name: str, study: dict[str, Any]) -> dict[str, Any]:
    titles = [folded(name).records["title"].value_counts()] if is_there(name) else []
    return {
        "name": f"[{name}](tables/{name}.md), [report](reports/{name}.html)" if titles else name,
        "tables": ", ".join(study["tables"]) or "-",
        "workloads": ", ".join(study["at"].values()),
        "runs": f"{sum(counts.sum() for counts in titles):,}" if titles else OPEN,
        "fixed": fixed_sizes(folded(name).records, study["at"].values()) if titles else "-",
        "command": f"python -m scripts.evidence run {name} --data DIR",
        "minutes": study["minutes"] if titles else "-",
    }
