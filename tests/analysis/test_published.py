from __future__ import annotations

import csv
import io
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from scipy.stats import norm, t, ttest_ind

from adaptive_bench.__main__ import conf
from adaptive_bench.analysis import Claim, Table, notes, read, read_claims, render, report, table
from adaptive_bench.analysis.columns import text_frame
from adaptive_bench.analysis.published import PUBLISHED, own_settings
from adaptive_bench.analysis.published import SETTINGS as SETTINGS_FILE
from adaptive_bench.experiment.build import plan
from tests.analysis import published_settings
from tests.analysis.published_settings import claimed, composed, settings

if TYPE_CHECKING:
    from tests.analysis.conftest import Results

SETTINGS = {"dataset": "ptb", "model": "lstm_200", "arm": "zaremba_small", "epochs": 13, "dataset.train_size": None}
OTHER = Claim(
    settings={"arm": "block_16", "epochs": 13}, metric="perplexity", value=130, low=120, high=140.5, source="B", note="c"
)
CLAIMS = (
    Claim(settings=SETTINGS, metric="perplexity", value=114.5, source="A, Table 1"),
    Claim(settings=SETTINGS, metric="perplexity", value=115.91, source="B"),
    OTHER,
)


def add(results: Results, arm: str = "zaremba_small", *, finals: tuple[float, ...] = (114.0, 115.0), **options: Any) -> None:
    """Runs of an arm with these test perplexities; `settings` are on top of those of the claims."""
    settings = {"epochs": 13, "dataset.train_size": None} | options.pop("settings", {})
    record = {"dataset": "ptb", "model": "lstm_200", "metric": "perplexity", "maximise": False, "best": 100.0} | options
    for seed, final in enumerate(finals):
        results.add(arm, seed=seed, curve=[(0, 1000), (1000, 100)], settings=settings, final=final, **record)


def only(results: Results, **options: Any) -> Table:
    (found,) = table(read(results.folder), **{"claims": CLAIMS} | options)
    return found


def note(found: Table) -> str:
    return "\n".join(line for line in notes(found) if line.startswith("Published"))


def test_values_stand_beside_the_metric_of_the_arm_they_are_about(results: Results) -> None:
    add(results)
    add(results, "block_16")
    add(results, "block_32")
    found = only(results)
    frame = text_frame(found).set_index("arm")
    assert list(frame)[6:9] == ["test perplexity", "published", "ratio to baseline"]
    assert frame["published"].to_dict() == {
        "zaremba_small": "114.5: cannot tell; 115.91: cannot tell",
        "block_16": "130 [120, 140.5]: differs",
        "block_32": "-",
    }


def test_the_notes_have_a_line_a_source_with_the_ratio_and_its_interval(results: Results) -> None:
    # ln 100 and ln 121: mean ln 110, s = ln 1.21 / sqrt(2). One more run lies t(1, .975) s sqrt(1/2 + 1) = 2.0975 around it
    add(results, finals=(100.0, 121.0))
    # our block_16 have no spread: the interval is the claim's own, ln(140.5 / 120) / 2 = 0.07886, around ln(90 / 130)
    add(results, "block_16", finals=(90.0, 90.0))
    lines = note(only(results)).splitlines()
    assert lines == [
        "Published, B: block_16 130 [120, 140.5], ours/published 0.692 [0.640, 0.749], differs; "
        "zaremba_small 115.91, ours/published 0.949 [0.116, 7.731], cannot tell; c.",
        "Published, A, Table 1: zaremba_small 114.5, ours/published 0.961 [0.118, 7.826], cannot tell.",
    ]


def accuracy(value: float = 90.0, **options: Any) -> Claim:
    return Claim(**{"settings": {}, "metric": "accuracy", "value": value, "source": "A"} | options)


def test_without_an_interval_a_claim_is_one_more_run_or_mean_of_runs() -> None:
    # 89, 90, 91 have s = 1, and t(2, .975) = 4.30265
    for claim, root in ((accuracy(90.5), 4 / 3), (accuracy(90.5, seeds=3), 2 / 3)):
        made = claim.verdict([89, 90, 91])
        assert (made.difference, made.low, made.high) == pytest.approx(
            (-0.5, -0.5 - 4.30265 * math.sqrt(root), -0.5 + 4.30265 * math.sqrt(root)), abs=1e-4
        )
        assert made.verdict == "cannot tell"


def test_with_an_interval_it_is_that_of_the_difference_of_two_means() -> None:
    ours, theirs = [89.0, 90.0, 91.0, 92.0], [88.0, 88.5, 90.0, 91.0, 91.5]
    half = t.ppf(0.975, 4) * np.std(theirs, ddof=1) / math.sqrt(5)
    mean = float(np.mean(theirs))
    made = accuracy(mean, low=mean - half, high=mean + half, seeds=5).verdict(ours)
    welch = ttest_ind(ours, theirs, equal_var=False)
    error = (ours_mean := float(np.mean(ours)) - mean) / welch.statistic
    width = t.ppf(0.975, math.floor(welch.df)) * error
    assert (made.low, made.high) == pytest.approx((ours_mean - width, ours_mean + width))
    # a standard error of 1 from 1.96, and none of ours: nothing but the claim's own interval
    made = accuracy(low=90 - norm.ppf(0.975), high=90 + norm.ppf(0.975)).verdict([91, 91])
    assert (made.low, made.high) == pytest.approx((1 - norm.ppf(0.975), 1 + norm.ppf(0.975)))


@pytest.mark.parametrize(
    ("values", "options", "verdict"),
    [
        ([90.0, 90.0, 90.0], {}, "agrees"),
        ([90.1, 90.1, 90.1], {}, "differs"),
        ([90.1, 90.1, 90.1], {"resolution": 0.1}, "agrees"),  # half of 4.3 * 0.1 / sqrt(12) * sqrt(4 / 3) = 0.143
        ([90.1, 90.1, 90.1], {"resolution": 0.1, "margin": 0.24}, "cannot tell"),
        ([90.1, 90.1, 90.1], {"resolution": 0.1, "margin": 0.25}, "agrees"),
        ([90.0], {}, "cannot tell"),
        ([], {}, "cannot tell"),
        ([90.0, math.nan], {}, "cannot tell"),
    ],
)
def test_verdicts(values: list[float], options: dict[str, float], verdict: str) -> None:
    assert accuracy().verdict(values, **options).verdict == verdict


def test_the_margin_of_perplexity_is_in_per_cent_of_the_published_value() -> None:
    values = [100.0, 100.1]  # the interval of the ratio reaches 1.0005 exp(12.706 s sqrt(3 / 2)) = 1.0116, s = ln 1.001 / sqrt(2)
    claim = Claim(settings={}, metric="perplexity", value=100, source="A")
    assert [claim.verdict(values, margin=margin).verdict for margin in (1, 1.1, 1.2)] == ["cannot tell", "cannot tell", "agrees"]
    assert claim.verdict([100.0, 0.0]).verdict == "cannot tell"


@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_verdicts_are_wrong_no_more_often_than_they_say(seeds: int, n: int) -> None:
    """Claims of one run, and of five with their interval, of which ours have the same sd (1) and the same mean, or another."""
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(size=(400, n)), rng.normal(90, size=(400, seeds))
    half = t.ppf(0.975, 4) * theirs.std(axis=1, ddof=1) / math.sqrt(5) if seeds == 5 else np.full(400, math.nan)
    claims = [
        accuracy(mean, low=mean - each, high=mean + each, seeds=seeds)
        for mean, each in zip(theirs.mean(axis=1), half, strict=True)
    ]

    def share(verdict: str, *, shift: float, margin: float = 0.5) -> float:
        made = [claim.verdict(row, margin=margin).verdict for claim, row in zip(claims, 90 + shift + ours, strict=True)]
        return made.count(verdict) / len(made)

    assert share("differs", shift=0) <= 0.06
    assert share("agrees", shift=3, margin=3) <= 0.05
    assert share("differs", shift=5) > (0.2 if n < 3 else 0.5 if n < 5 else 0.9)
    assert share("agrees", shift=0, margin=8) > (0.1 if n < 3 else 0.7)


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"epochs": 39}},
        {"settings": {"epochs": "13"}},
        {"settings": {"dataset.train_size": 1000}},
        {"dataset": "wikitext2"},
        {"model": "lstm_650"},
        {"arm": "zaremba_medium"},
        {"metric": "accuracy"},
    ],
)
def test_one_setting_that_differs_leaves_the_claims_out(results: Results, other: dict[str, Any]) -> None:
    add(results, **other)
    found = only(results)
    assert "published" not in text_frame(found)
    assert note(found) == ""


@pytest.mark.parametrize(("finals", "status"), [((114.0,), "done"), ((math.nan, math.nan), "diverged")])
def test_without_two_runs_nothing_can_be_told(results: Results, finals: tuple[float, ...], status: str) -> None:
    add(results, finals=finals, status=status)
    found = only(results)
    assert text_frame(found)["published"].tolist() == ["114.5: cannot tell; 115.91: cannot tell"]
    assert re.search(r"zaremba_small 114\.5, ours/published (0\.996 \[-\]|-), cannot tell", note(found))


@pytest.mark.parametrize("metric", ["best", "samples", "seconds"])
def test_claims_are_of_test_values_only(results: Results, metric: str) -> None:
    add(results)
    found = only(results, metric=metric)
    assert "published" not in text_frame(found)
    assert note(found) == ""


def test_a_setting_of_null_matches_a_record_without_it_and_true_is_not_1(results: Results) -> None:
    add(results, settings={"flag": True})
    record = read(results.folder).records.iloc[0].to_dict()

    def applies(**settings: object) -> bool:
        return Claim(settings=settings, metric="perplexity", value=1.0, source="A").applies(record)

    assert applies(unknown=None, flag=True, epochs=13.0)
    assert not applies(flag=1)
    assert not applies(unknown=0)


def test_json_has_a_list_and_csv_a_column_each(results: Results) -> None:
    add(results, finals=(114.5, 114.5))
    add(results, "block_16")
    add(results, "block_32")
    made = [only(results)]
    rows = {row["label"]: row for row in json.loads(render(made, "json"))[0]["rows"]}
    assert rows["zaremba_small"]["published"] == [
        {"value": 114.5, "low": None, "high": None, "source": "A, Table 1", "note": "", "verdict": "agrees"}
        | {"difference": 1.0, "difference_low": 1.0, "difference_high": 1.0},
        {"value": 115.91, "low": None, "high": None, "source": "B", "note": "", "verdict": "differs"}
        | dict.fromkeys(("difference", "difference_low", "difference_high"), pytest.approx(114.5 / 115.91)),
    ]
    assert rows["block_32"]["published"] == []
    flat = {row["label"]: row for row in csv.DictReader(io.StringIO(render(made, "csv")))}
    names = [f"published_{name}" for name in ("value", "low", "high", "verdict", "source")]
    assert [flat["zaremba_small"][name] for name in names] == ["114.5; 115.91", "; ", "; ", "agrees; differs", "A, Table 1; B"]
    assert [float(flat["block_16"][name]) for name in names[:3]] == [130, 120, 140.5]
    assert [flat["block_32"][name] for name in names] == [""] * 5


def test_the_report_shows_what_the_package_knows(results: Results) -> None:
    add(results, settings=dict(read_claims()[0].settings))
    page = report(read(results.folder), results.folder / "report.html").read_text()
    assert ">published</button></th>" in page
    assert ">114.5: cannot tell; 115.91: cannot tell</a></td>" in page
    assert "Zaremba, Sutskever, Vinyals 2014, arXiv 1409.2329, Table 1: zaremba_small 114.5, ours/published 1.000 [" in page
    assert ">tokens trained</button></th>" in page


WHOLE = {"settings": {"arm": "a"}, "metric": "perplexity", "value": 1, "source": "A"}
NAMED = {"workload": "ptb_zaremba_small", "arm": "zaremba_small", "value": 1, "source": "A"}
WORKLOADS = {"ptb_zaremba_small": {"metric": "perplexity", "content": "0"}, "demo": {"metric": "accuracy", "content": "0"}}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a", "is 'a'; a mapping"),
        ({"settings": {"arm": "a"}, "metric": "perplexity"}, "lacks value, source"),
        ({"arm": "a", "value": 1, "source": "A"}, "lacks workload;"),
        (NAMED | {"settings": {"arm": "a"}, "metric": "perplexity"}, "has workload, arm; only settings, metric, value"),
        (NAMED | {"metric": "perplexity"}, "has metric; only workload, arm, value"),
        (NAMED | {"workload": "ptb_zaremba"}, "no workload 'ptb_zaremba'; the file's workloads are ptb_zaremba_small, demo"),
        (NAMED | {"arm": "zaremba"}, r"no settings are kept for the arm 'zaremba' of ptb_zaremba_small \(kept: zaremba_small\)"),
        (NAMED | {"workload": "demo"}, r"no settings are kept for the arm 'zaremba_small' of demo \(kept: none\)"),
        (NAMED | {"arm": ""}, "arm is ''; a text"),
        (WHOLE | {"values": 1}, "has values; only"),
        (WHOLE | {"value": "114,5"}, "value is '114,5'; a finite number"),
        (WHOLE | {"value": True}, "value is True"),
        (WHOLE | {"value": math.nan}, "value is nan"),
        (WHOLE | {"value": 0}, "perplexities are above 0"),
        (WHOLE | {"low": 0}, "low and high come together"),
        (WHOLE | {"low": 2, "high": 3}, "with the value between them"),
        (WHOLE | {"low": 0, "high": 3}, "perplexities are above 0"),
        (WHOLE | {"low": 0, "high": None}, "high is None"),
        (WHOLE | {"seeds": 0}, "seeds is 0; a whole number of 1 or more"),
        (WHOLE | {"low": 0.5, "high": 2, "seeds": 1}, "seeds is 1; a whole number of 2 or more"),
        (WHOLE | {"seeds": 2.5}, r"seeds is 2\.5; a whole"),
        (WHOLE | {"source": ""}, "source is ''; a text"),
        (WHOLE | {"note": 3}, "note is 3; a text"),
        (WHOLE | {"metric": None}, "metric is None"),
        (WHOLE | {"metric": "loss"}, "metric is 'loss'; one of accuracy, perplexity"),
        (WHOLE | {"settings": {}}, r"settings is \{\}; a mapping"),
        (WHOLE | {"settings": ["arm"]}, r"settings is \['arm'\]"),
        (WHOLE | {"settings": {"dataset": {"train_size": 1}}}, r"settings\.dataset is a mapping; write dotted keys"),
    ],
)
def test_a_malformed_entry_is_named_with_its_file(tmp_path: Path, entry: object, message: str) -> None:
    path = tmp_path / "claims.yaml"
    OmegaConf.save(OmegaConf.create({"workloads": WORKLOADS, "claims": [NAMED, entry]}), path)
    with pytest.raises(ValueError, match=rf"claims\.yaml: entry 2.*{message}"):
        read_claims(path)


@pytest.mark.parametrize("workloads", [3, ["a"], {"a": 3}, {"a": {"metric": "accuracy"}}])
def test_a_malformed_workload_is_named_with_its_file(tmp_path: Path, workloads: object) -> None:
    path = tmp_path / "claims.yaml"
    OmegaConf.save(OmegaConf.create({"workloads": workloads, "claims": []}), path)
    with pytest.raises(ValueError, match=r"claims\.yaml: workload .* a mapping with metric and content"):
        read_claims(path)


@pytest.mark.parametrize(
    "text", ["", "a: 1", "3", "- {a: 1}", "claims: 3", "claims: []\nclaim: []", "- {", "- ${", "- {a: 1, a: 2}", None]
)
def test_a_file_that_holds_no_list_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "claims.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"claims\.yaml: .*a list of claims is expected"):
        read_claims(path)


def test_an_entry_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(
        "claims: [{settings: {arm: a, dataset.size: null, optimizer.lr: 1e-2}, metric: accuracy, "
        "value: 2, low: 1, high: 3, seeds: 5, source: s, note: n}]"
    )
    settings = {"arm": "a", "dataset.size": None, "optimizer.lr": 0.01}
    (claim,) = read_claims(path)
    assert claim == Claim(settings=settings, metric="accuracy", value=2, low=1, high=3, seeds=5, source="s", note="n")


CLAIMED = read_claims()
ENTRIES = [(entry.workload, entry.arm) for entry in OmegaConf.load(PUBLISHED).claims]
IMAGES = [claim for claim in CLAIMED if claim.metric == "accuracy"]
OTHER_SWEEPS = [file.stem for file in sorted((conf() / "sweep").glob("[!_]*.yaml")) if file.stem not in dict(ENTRIES)]


def test_the_settings_of_the_claims_are_those_that_their_sweeps_have_today() -> None:
    kept, today = json.loads(SETTINGS_FILE.read_text()), claimed()
    changed = sorted(
        f"{sweep}/{arm or 'all'}: {key}={each.get(key)!r} today, {old.get(key)!r} is kept"
        for sweep in kept | today
        for arm in kept.get(sweep, {}) | today.get(sweep, {})
        for each, old in [(today.get(sweep, {}).get(arm, {}), kept.get(sweep, {}).get(arm, {}))]
        for key in each | old
        if (key in each, each.get(key)) != (key in old, old.get(key))
    )
    assert kept == today, f"{changed}: rename or change it back, or run python -m tests.analysis.published_settings"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"workload": "ptb_none", "arm": "a"}, r"entry 1: no file conf/sweep/ptb_none\.yaml"),
        (
            {"workload": "ptb_zaremba_small", "arm": "zaremba"},
            "sweep=ptb_zaremba_small trains no arm 'zaremba'; it trains zaremba_small",
        ),
        ({"workload": "lengths_cpu", "arm": "fixed_small"}, "sweep=lengths_cpu also varies batching, model"),
    ],
)
def test_a_claim_that_no_sweep_can_match_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, str], message: str
) -> None:
    OmegaConf.save({"claims": [entry]}, path := tmp_path / "claims.yaml")
    monkeypatch.setattr(published_settings, "PUBLISHED", path)
    with pytest.raises(ValueError, match=message):
        claimed()


@cache
def run_of(sweep: str, *choices: str) -> DictConfig:
    return composed(sweep, *choices)


def record_of(sweep: str, arm: str, claim: Claim, *overrides: str) -> dict[str, Any]:
    """What such a run records, on the files that the claim names."""
    groups = [each for each in overrides if (conf() / each.partition("=")[0].partition("@")[0]).is_dir()]
    values = OmegaConf.from_dotlist([each for each in overrides if each not in groups])
    cfg = OmegaConf.merge(run_of(sweep, f"arm={arm}", *groups), values)
    content = {"dataset.content": claim.settings["dataset.content"]}
    return {"dataset": "d", "model": "m", "arm": arm, "metric": claim.metric, "settings": settings(cfg) | content}


every = pytest.mark.parametrize(
    ("sweep", "arm", "claim"),
    [(*entry, claim) for entry, claim in zip(ENTRIES, CLAIMED, strict=True)],
    ids=[f"{arm}-{claim.value}" for (_, arm), claim in zip(ENTRIES, CLAIMED, strict=True)],
)


def test_a_composed_run_has_the_settings_that_a_planned_one_records() -> None:
    cfg = composed("demo", "arm=divebatch")
    recorded = plan(cfg, cfg.hydra).identity.settings
    assert own_settings(json.loads(json.dumps(recorded))) == own_settings(settings(cfg))


@every
def test_a_run_of_the_sweep_gets_its_claim(sweep: str, arm: str, claim: Claim) -> None:
    assert claim.applies(record_of(sweep, arm, claim))
    assert claim.applies(record_of(sweep, arm, claim, "seed=3", "threads=1", "device=cuda", "compile=true", "results=there"))


OTHER_SETTINGS = {  # by data set, by the beginning of an arm's name, by arm
    "ptb": (
        "epochs=1", "dataset.train_size=1000", "dataset.test_size=1000", "model.hidden=100", "optimizer.lr=0.5",
        "max_grad_norm=1", "lr_schedule=constant", "lr_rule=linear", "tokens_per_step=fixed", "scheduler=gns",
        "scheduler.initial=7", "block_scheduler.initial=7", "scheduler@block_scheduler=linear", "max_grad_norm=null",
    ),
    "zaremba": ("dataset.loss_reduction=mean", "optimizer.momentum=0.9", "model.dropout=0.1", "model.init=1", "model.tied=true"),
    "block": ("dataset.loss_reduction=sum_time",),
    "div": ("scheduler.initial=64", "dataset.train_size=5000"),
    "fixed_small": (
        "epochs=100", "dataset.train_size=5000", "dataset.validation_size=1000", "dataset.test_size=2000", "dataset.crop=0",
        "dataset.flip=false", "dataset.mean=[0,0,0]", "dataset.std=[1,1,1]", "model=resnet8", "model.norm=group",
        "model.stem=imagenet", "optimizer.lr=0.2", "scheduler.initial=64", "optimizer.momentum=0", "optimizer.weight_decay=0",
        "optimizer.nesterov=true", "max_grad_norm=1", "max_physical_batch=64", "momentum_half_life=1000", "precision=bf16",
        "order=curriculum", "lr_rule=linear", "lr_schedule=constant", "lr_schedule.warmup=5", "lr_schedule.final=0.1",
        "batch_size.minimum=8", "batch_size.maximum=1024", "batch_size.multiple_of=8", "scheduler=step",
    ),
    "fixed_large_rescaled": ("workload.large_lr=0.4", "batch_size.maximum=1024"),
    "doubling": ("scheduler.factor=4", "workload.resize_every=10", "batch_size.growth_cap=1.5", "batch_size.cooldown=30"),
    "doubling_rescaled": ("lr_rule=sqrt",),
    "divebatch": (
        "workload.delta=0.01", "workload.resize_every=10", "scheduler.monotone=false", "scheduler.variant=moments",
        "estimator=microbatch",
        "estimator.fraction=0.5",
    ),
    "divebatch_rescaled": ("lr_rule=none",),
}  # fmt: skip


@every
def test_a_run_with_another_setting_gets_none(sweep: str, arm: str, claim: Claim) -> None:
    tried = [each for name in (sweep[:3], arm.partition("_")[0], arm) for each in OTHER_SETTINGS.get(name, ())]
    assert tried
    assert [each for each in tried if claim.applies(record_of(sweep, arm, claim, each))] == []
    record = record_of(sweep, arm, claim)
    for other in ({"dataset.content": "0"}, {"ranks": 2}, {"scheduler.unheard_of": None}):
        assert not claim.applies(record | {"settings": record["settings"] | other})
    assert not claim.applies(record | {"metric": "loss"})
    for key in claim.settings:
        if claim.settings[key] is not None:
            assert not claim.applies(record | {"settings": {k: v for k, v in record["settings"].items() if k != key}})


@pytest.mark.slow
@pytest.mark.parametrize(
    "sweep", [each for each in OTHER_SWEEPS if each.startswith(("compare", "deba_cifar", "divebatch", "ptb_cpu"))]
)
def test_no_twin_and_no_other_study_gets_one(sweep: str) -> None:
    params = composed(sweep).hydra.sweeper.params
    shared = [
        (arm, claim) for (_, arm), claim in zip(ENTRIES, CLAIMED, strict=True) if arm in params.arm.replace(" ", "").split(",")
    ]
    assert shared
    for arm, claim in shared:  # with the claim's own model, where the sweep has another
        model = "resnet18" if claim.metric == "accuracy" else "lstm_650"
        assert not claim.applies(record_of(sweep, arm, claim, f"model={model}"))


def test_the_claims_of_divebatch_are_pinned_alike_with_students_t_on_the_standard_errors_of_five_seeds() -> None:
    for claim, error in zip(IMAGES, (0.02, 0.27, 0.12, 0.02, 0.11, 0.08, 0.10), strict=True):
        half = t.ppf(0.975, 4) * error
        assert (claim.low, claim.high) == pytest.approx((claim.value - half, claim.value + half), abs=0.0051)
        assert claim.seeds == 5
