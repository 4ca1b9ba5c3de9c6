"""Replays whose answers are known by hand, and profiles that cannot be used."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from adaptive_bench import compact
from adaptive_bench.analysis import read, read_profile, replay, table
from adaptive_bench.analysis.columns import raw_rows, text_frame
from adaptive_bench.schema import TRACE

HEAD = "device: a card\ndate: 2026-01-31\ndataset: digits\nmodel: mlp\n"
# t is a power law between its points: t(32) = sqrt(1 x 2.25) = 1.5
STEPS = "steps:\n- {batch: 16, seconds: 1}\n- {batch: 64, seconds: 2.25}\n"
GRID = "steps:\n" + "".join(
    f"- {{batch: {batch}, block: {block}, seconds: {seconds}}}\n"
    for block, batch, seconds in [(8, 4, 1.0), (8, 16, 4.0), (32, 4, 2.0), (32, 16, 16.0)]
)
T = 4.302652729911275  # Student's t of 2 degrees of freedom at 97.5 %
SQRT3 = math.sqrt(3)


def profile_in(folder, text=HEAD + STEPS):
    path = folder / "card.yaml"
    path.write_text(text)
    return path


def line(end):
    """Twenty evaluations on a straight line from 10 to 90; the fifteenth is exactly 70."""
    return [(end * k / 20, 10 + 80 * k / 20) for k in range(21)]


def write_trace(folder, *pieces, train=0.01):
    """Pieces (steps, granted size, share of measuring), of `train` seconds a step; a piece may end with its own block sizes."""
    rows = [
        {
            "batch_size": size[0], "batch_size_granted": size[1], "block_size": size[2], "block_size_granted": size[3],
            "samples": size[0] * size[2], "seconds_train": train, "seconds_measure": share * train,
        }
        for count, sizes, share in pieces
        for size in [sizes if isinstance(sizes, tuple) else (sizes, sizes, 1, 1)] * count
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    totals = ["samples", "seconds_train", "seconds_measure"]
    frame[totals] = frame[totals].cumsum()
    frame["grad_norm"] = frame["seconds_measure"].diff().fillna(frame["seconds_measure"]).replace(0, math.nan)
    frame.assign(step=range(1, len(frame) + 1)).reindex(columns=[*TRACE, "grad_norm"]).to_parquet(folder / "trace.parquet")


def records(runs):
    return [row for arms in runs.arms.values() for rows in arms.values() for row in rows]


@pytest.fixture
def retimed(results):
    """Two arms and three seeds. Steps of the baseline have 32 rows, the other's first 16, with measuring, then 64, without it."""
    for seed, end in enumerate((1280, 2560, 640)):
        write_trace(results.add("fixed_small", seed=seed, curve=line(end)), (end // 32, 32, 0.0))
        write_trace(
            results.add("jump", seed=seed, curve=line(1280), scheduler="jump", statistics="grad_norm"),
            (20, 16, 0.5),
            (15, 64, 0.0),
        )
    return results


def test_every_replayed_figure_of_two_arms_and_three_seeds_by_hand(retimed, tmp_path):
    (found,) = table(read(retimed.folder), target=70, devices=[read_profile(profile_in(tmp_path))])
    small, jump = raw_rows(found)
    # whole runs: 40, 80 and 20 steps of 1.5 s; 20 steps of 1 s with half as much for measuring, then 15 of 2.25 s
    half = math.exp(T * math.log(2) / SQRT3)
    whole = {"mean": 60, "low": 60 / half, "high": 60 * half}
    assert {name: small[f"replayed_training_seconds_{name}"] for name in whole} == pytest.approx(whole)
    assert [jump[f"replayed_training_seconds_{name}"] for name in whole] == pytest.approx([63.75] * 3)
    # to the target, at three quarters of the samples: 30, 60 and 15 steps of 1.5 s; 30 s and 10 steps of 2.25 s
    assert {name: small[f"replayed_seconds_to_target_{name}"] for name in whole} == pytest.approx(
        {"mean": 45, "low": 45 / half, "high": 45 * half}
    )
    assert jump["replayed_seconds_to_target_mean"] == pytest.approx(52.5)
    # pairs 45 / 52.5, 90 / 52.5 and 22.5 / 52.5: their logarithms have the standard deviation ln 2
    centre = 45 / 52.5
    assert jump["speedup_replayed_seconds_mean"] == pytest.approx(centre)
    assert jump["speedup_replayed_seconds_low"] == pytest.approx(centre / half)
    assert jump["speedup_replayed_seconds_high"] == pytest.approx(centre * half)
    assert jump["speedup_replayed_seconds_method"] == "paired t"
    shown = text_frame(found).set_index("arm")
    assert shown.loc["jump", "replayed training seconds"] == "63.75 [63.75, 63.75]"
    assert shown.loc["jump", "speed-up, replayed seconds"] == f"0.857 [{centre / half:.3f}, {centre * half:.3f}]"
    assert shown.loc["jump", "replayed seconds to target"] == "52.50"
    # beside the measured ones, which stay as they were: 1 ms a sample
    assert shown.loc["jump", "training seconds"] == "1.280 [1.280, 1.280]"


def test_a_compacted_run_is_replayed_to_the_same_seconds(retimed, tmp_path):
    profile = read_profile(profile_in(tmp_path))
    runs = read(retimed.folder)
    before = {record["run"]: replay(runs, record, profile) for record in records(runs)}
    compact.fold(retimed.folder)
    runs = read(retimed.folder)
    assert not any(runs.has_steps(run) for run in before)
    for record in records(runs):
        found, after = before[record["run"]], replay(runs, record, profile)
        assert after.total == pytest.approx(found.total)
        assert after.until(480.0) == pytest.approx(found.until(480.0))


def test_blocks_and_batches_are_interpolated_on_logarithms(tmp_path):
    profile = read_profile(profile_in(tmp_path, HEAD + GRID))
    batches, blocks = np.array([4.0, 8, 8, 16, 16]), np.array([8.0, 8, 16, 16, 32])
    # sqrt(1 x 4); the mean of all four logarithms, (1 x 4 x 2 x 16)^(1/4); sqrt(4 x 16); the corner
    assert profile.step_seconds(batches, blocks) == pytest.approx([1, 2, 128**0.25, 8, 16])


MEASURED = (
    HEAD
    + "statistics: [grad_variance]\n"
    + STEPS.replace("seconds: 1}", "seconds: 1, measured: 4}").replace("seconds: 2.25}", "seconds: 2.25, measured: 9}")
)


def test_a_step_that_measured_takes_the_measured_time_also_when_compacted(results, tmp_path):
    folder = results.add(curve=line(160), statistics="grad_sq_norm grad_variance")
    # four steps of 16 and four of 32, of which every other one measures
    write_trace(folder, *[(1, size, share) for size in (16, 32) for share in (0.5, 0.0) * 2])
    trace = pd.read_parquet(folder / "trace.parquet")
    trace.assign(grad_variance=[1.0, math.nan] * 4, grad_sq_norm=math.nan).to_parquet(folder / "trace.parquet")
    profile = read_profile(profile_in(tmp_path, MEASURED))
    runs = read(results.folder)
    # t(32) = 1.5 without and 6 with measuring
    assert replay(runs, records(runs)[0], profile).total == pytest.approx(2 * (1 + 4) + 2 * (1.5 + 6))
    # an arm with other statistics keeps the share of its own device, (0.5 + 0) / 2 at either size
    other = records(runs)[0] | {"statistics": "grad_sq_norm"}
    assert replay(runs, other, profile).total == pytest.approx(1.25 * 4 * (1 + 1.5))
    compact.fold(results.folder)
    runs = read(results.folder)
    assert replay(runs, records(runs)[0], profile).total == pytest.approx(25)


def test_a_step_that_the_end_of_a_text_cut_takes_the_time_of_its_own_size_or_of_the_smallest(results, tmp_path):
    folder = results.add(curve=line(160))
    write_trace(folder, (2, (4, 4, 32, 32), 0.0), (1, (4, 4, 16, 32), 0.0), (1, (2, 4, 1, 32), 0.0))
    profile = read_profile(profile_in(tmp_path, HEAD + GRID))
    runs = read(results.folder)
    # 2 x t(4, 32) + t(4, 16) + t(4, 8), where nothing as small as 2 x 1 was measured
    assert replay(runs, records(runs)[0], profile).total == pytest.approx(2 * 2 + math.sqrt(2) + 1)


def test_a_run_that_missed_is_a_miss_and_one_that_is_not_done_needs_no_trace(retimed, tmp_path):
    gone = {"status": "diverged", "reason": "loss is nan", "final": math.nan}
    (retimed.add("jump", seed=3, curve=line(1280), scheduler="jump", **gone) / "trace.parquet").unlink()
    (found,) = table(read(retimed.folder), target=70, devices=[read_profile(profile_in(tmp_path))])
    jump = raw_rows(found)[1]
    assert jump["replayed_seconds_to_target_kind"] == "median"
    assert jump["replayed_training_seconds_mean"] == pytest.approx(63.75)
    assert jump["speedup_replayed_seconds_method"].startswith("restricted")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "no readable yaml"),
        ("- 1\n", "is [1]; a mapping with device, date, dataset, model, steps is expected"),
        (STEPS, "lacks device, date, dataset, model; "),
        (HEAD + "setings: {}\n" + STEPS, "has setings; "),
        (HEAD + "settings: fp32\n" + STEPS, "settings is 'fp32'; names with values are expected"),
        (HEAD + "steps: 3\n", "steps is 3; a list"),
        (HEAD + "steps:\n- {batch: 16}\n", "step 1 lacks seconds; "),
        (HEAD + "steps:\n- {batch: 16, seconds: 1}\n", "step times of 1 batch sizes; two or more are expected"),
        (
            HEAD + STEPS + "- {batch: 128, seconds: .nan}\n",
            "step 3 (batch 128, block 1) has seconds nan; a finite number above 0",
        ),
        (HEAD + STEPS + "- {batch: 128, seconds: null}\n", "has seconds None; a finite number above 0"),
        (HEAD + STEPS + "- {batch: 12.5, seconds: 3}\n", "step 3 has batch 12.5 and block 1; whole numbers"),
        (HEAD + STEPS + "- {batch: 32, seconds: 3}\n", "batch 32, block 1 comes after batch 64, block 1; sizes ascending"),
        (HEAD + STEPS + "- {batch: 64, seconds: 3}\n", "batch 64, block 1 comes after batch 64, block 1"),
        (HEAD + STEPS + "- {batch: 16, block: 2, seconds: 3}\n", "a hole, there is no step of batch 64, block 2"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_line(cli, retimed, tmp_path, text, said):
    code, out, err = cli("tables", str(retimed.folder), "--device", str(profile_in(tmp_path, text)))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "card.yaml" in err
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("mlp", "resnet8") + STEPS, "is a profile of digits / resnet8; name one of this workload, which "),
        (HEAD.replace("digits", "ptb") + STEPS, "is a profile of ptb / mlp; "),
        (HEAD + "settings: {precision: fp32}\n" + STEPS, "is for precision=fp32, and these runs have no such setting; "),
        (HEAD + "settings: {epochs: 5}\n" + STEPS, "is for epochs=5, and these runs have epochs=4; "),
        (HEAD + STEPS.replace("64", "48"), "a batch size of 64, and "),
        (HEAD + STEPS.replace("16", "20"), "a batch size of 16, and "),
    ],
)
def test_a_profile_of_another_workload_or_of_other_sizes_is_refused_in_one_line(cli, retimed, tmp_path, text, said):
    code, out, err = cli("tables", str(retimed.folder), "--device", str(profile_in(tmp_path, text)))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


def test_each_workload_takes_its_own_profile(results, tmp_path):
    for dataset in ("digits", "cifar10"):
        for seed in (0, 1):
            results.add("fixed_small", seed=seed, dataset=dataset)
    here = read_profile(profile_in(tmp_path))
    (tmp_path / "other").mkdir()
    slower = STEPS.replace("seconds: 1}", "seconds: 10}").replace("2.25", "22.5")
    there = read_profile(profile_in(tmp_path / "other", HEAD.replace("digits", "cifar10") + slower))
    for devices in ([here, there], [there, here]):
        found = {made.title: made.rows[0].totals["replayed"].mean for made in table(read(results.folder), devices=devices)}
        assert found["cifar10 / mlp"] == pytest.approx(10 * found["digits / mlp"])


def test_a_workload_takes_the_profile_with_its_settings(results, tmp_path):
    for width in (8, 16):
        results.add("fixed_small", settings={"dataset.train_size": 1000, "epochs": 4, "model.width": width})
    profiles = []
    for width, seconds in ((8, 1), (16, 10)):
        folder = tmp_path / str(width)
        folder.mkdir()
        steps = STEPS.replace("seconds: 1}", f"seconds: {seconds}}}").replace("2.25", str(2.25 * seconds))
        profiles.append(read_profile(profile_in(folder, HEAD + f"settings: {{model.width: {width}}}\n" + steps)))
    for devices in (profiles, profiles[::-1]):
        totals = [made.rows[0].totals["replayed"].mean for made in table(read(results.folder), devices=devices)]
        assert totals[1] == pytest.approx(10 * totals[0])


def test_runs_of_several_processes_are_refused(results, tmp_path):
    results.add(settings={"ranks": 2})
    with pytest.raises(ValueError, match="runs of 2 processes each"):
        table(read(results.folder), devices=[read_profile(profile_in(tmp_path))])


def test_a_missing_file_is_named(cli, retimed):
    code, _, err = cli("tables", str(retimed.folder), "--device", "nowhere.yaml")
    assert code == 1
    assert "nowhere.yaml: no readable yaml" in err


def test_the_terminal_shows_the_replay_and_names_the_profile(cli, retimed, tmp_path):
    path = profile_in(tmp_path, HEAD + "settings: {epochs: 4}\n" + STEPS)
    code, out, _ = cli("tables", str(retimed.folder), "--target", "70", "--device", str(path), "--format", "json")
    assert code == 0
    (found,) = json.loads(out)
    (note,) = [note for note in found["notes"] if note.startswith("Replayed seconds")]
    assert "on a card (2026-01-31; batches 16 to 64)" in note
    code, out, _ = cli("tables", str(retimed.folder), "--target", "70", "--device", str(path))
    assert code == 0
    assert "63.75" in out
    code, out, _ = cli("report", str(retimed.folder), "--target", "70", "--device", str(path), "-o", str(tmp_path / "r.html"))
    assert code == 0
    assert "replayed training seconds" in (tmp_path / "r.html").read_text()
