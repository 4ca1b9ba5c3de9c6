"""The schedulers that use a recorded run: its sizes step by step, in another order, and as one number."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_bench.experiment.recorded import read_trajectory
from adaptive_bench.schedulers import BatchShape, Jump, MeanMatched, Position, Replay, Reversed, Shuffled, SizeRange
from adaptive_bench.schedulers.trajectory import Trajectory
from adaptive_bench.training.size_controller import SizeController

KINDS = (Replay, Shuffled, Reversed, MeanMatched, Jump)
# 8 steps; the budget of 300 samples ends inside the last one, which would have had 64
SIZES = [16, 16, 32, 64, 64, 32, 64, 12]


def read(path, *, column="batch_size", results="results") -> Trajectory:
    return read_trajectory(path, results=results, column=column)


def write(path, sizes, **other):
    path.parent.mkdir(parents=True, exist_ok=True)
    # a last step smaller than the one before it was cut by the budget
    granted = [*sizes[:-1], max(sizes[-2:])]
    steps = pd.DataFrame({"batch_size": sizes, "block_size": 1, "batch_size_granted": granted, "block_size_granted": 1})
    steps.assign(samples=steps["batch_size"].cumsum(), **other).to_parquet(path)
    return str(path)


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "runs" / "0a1b2c3d4e5f6789" / "trace.parquet", SIZES)


@pytest.fixture
def trace(path):
    return read(path)


def sizes_of(scheduler, *, budget: int = 300, epoch: int = 100, maximum: int = 1000) -> list[int]:
    """The batch sizes of a whole run, as the trainer takes them: granted, and cut by the budget at its end."""
    slot, samples, sizes = SizeController(scheduler=scheduler, sizes=SizeRange(maximum=maximum)), 0, []
    while samples < budget:
        size, _ = slot.advance(Position(samples, budget, epoch))
        sizes.append(BatchShape(size).within(budget - samples).batch)
        samples += sizes[-1]
    return sizes


def test_replay_gives_the_recorded_sizes_step_by_step(trace):
    assert sizes_of(Replay(trace=trace)) == SIZES


def test_replay_goes_by_the_share_of_the_budget(trace):
    scheduler = Replay(trace=trace)
    # the recorded steps start at 0, 16, 32, 64, 128, 192, 224, 288
    at = {0: 16, 63: 16, 64: 32, 127: 32, 128: 64, 383: 64, 384: 32, 448: 64, 576: 64, 599: 64}
    assert {samples: scheduler.propose(Position(samples, 600, 100)) for samples in at} == at


@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 100)), min_size=1, max_size=200))
def test_any_trajectory_is_replayed_exactly(steps):
    sizes = [size for size, _ in steps]
    served = [max(1, size * percent // 100) for size, percent in steps]  # of a text, any step may be a rest
    path, budget, samples, replayed = Trajectory.of(sizes, served), sum(served), 0, []
    for taken in served:
        replayed.append(path.at(Position(samples, budget, 7)))
        samples += taken
    assert replayed == sizes


def test_reversed_goes_from_the_last_whole_step_to_the_first_and_the_cut_one_stays_last(trace):
    assert sizes_of(Reversed(trace=trace)) == [64, 32, 64, 64, 32, 16, 16, 12]


def test_reversed_of_reversed_is_the_original(trace, tmp_path):
    backwards = write(tmp_path / "backwards.parquet", sizes_of(Reversed(trace=trace)))
    # what is left of the last step now follows a 16: the recorded size of 12 is cut from that
    assert sizes_of(Reversed(trace=read(backwards))) == SIZES


def test_shuffled_serves_every_recorded_step_once(trace):
    for seed in range(20):
        sizes = sizes_of(Shuffled(trace=trace, seed=seed))
        assert sorted(sizes) == sorted(SIZES)
        assert sizes[-1] == 12


def test_shuffled_is_a_function_of_the_seed(trace):
    orders = [tuple(sizes_of(Shuffled(trace=trace, seed=seed))) for seed in range(20)]
    assert len(set(orders)) > 10
    assert orders[3] == tuple(sizes_of(Shuffled(trace=trace, seed=3)))
    # steps by ascending draw: random.Random(0) draws .844 .758 .421 .259 .511 .405 .784
    assert orders[0] == (64, 32, 32, 64, 16, 64, 16, 12)


def test_mean_matched(trace):
    # 288 samples in 7 whole steps and 12 of 64 in the last: 300 / 7.1875 = 41.739...; 8 updates of 42, the last one cut
    assert MeanMatched(trace=trace).propose(Position(0, 300, 100)) == pytest.approx(300 / (7 + 12 / 64))
    assert len(sizes_of(MeanMatched(trace=trace))) == len(SIZES)
    # (2 * 16^2 + 2 * 32^2 + 3 * 64^2 + 64 * 12) / 300
    samples = MeanMatched(trace=trace, match="samples")
    assert samples.propose(Position(299, 300, 100)) == pytest.approx((2 * 256 + 2 * 1024 + 3 * 4096 + 64 * 12) / 300)


def test_the_mean_of_a_constant_is_that_constant_whatever_the_budget_cut(tmp_path):
    constant = write(tmp_path / "trace.parquet", [64, 64, 10])
    for match in ("updates", "samples"):
        assert MeanMatched(trace=read(constant), match=match).propose(Position(0, 138, 100)) == pytest.approx(64)


def test_jump(trace):
    # 64 first comes at sample 64; the first change, to 32, at sample 32
    for at, start in (("maximum", 64), ("change", 32)):
        scheduler = Jump(trace=trace, at=at)
        assert scheduler.propose(Position(0, 300, 100)) == 16
        assert scheduler.propose(Position(start - 1, 300, 100)) == 16
        assert scheduler.propose(Position(start, 300, 100)) == 64
        assert scheduler.propose(Position(299, 300, 100)) == 64
        assert scheduler.propose(Position(2 * start, 600, 100)) == 64


@pytest.mark.parametrize("at", ["maximum", "change"])
def test_a_run_that_never_changed_has_nothing_to_jump_to(tmp_path, at):
    scheduler = Jump(trace=read(write(tmp_path / "trace.parquet", [16, 16, 5])), at=at)
    assert sizes_of(scheduler, budget=37) == [16, 16, 5]


def test_a_run_is_named_by_its_digest_its_folder_or_its_trace(path, tmp_path):
    found = read(path)
    assert found.sizes == (*SIZES[:-1], 64)
    assert found == read(str(tmp_path / "runs" / "0a1b2c3d4e5f6789")) == read("0a1b2c3d4e5f6789", results=tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sizes_are_no_state(trace, kind):
    assert kind(trace=trace).state_dict() == {}


def test_a_block_size_is_replayed_too(tmp_path):
    path = tmp_path / "trace.parquet"
    rows = pd.DataFrame({"batch_size": 4, "block_size": [8, 16, 32, 32, 20]})
    rows = rows.assign(batch_size_granted=4, block_size_granted=[8, 16, 32, 32, 32])
    rows.assign(samples=(rows["batch_size"] * rows["block_size"]).cumsum()).to_parquet(path)
    scheduler = Replay(trace=read(path, column="block_size"))
    assert [scheduler.propose(Position(samples, 432, 100)) for samples in (0, 32, 96, 224, 352)] == [8, 16, 32, 32, 32]


def test_the_digest_is_of_sizes_and_samples_and_of_nothing_else(path, trace, tmp_path):
    assert trace.digest() == read(write(tmp_path / "again.parquet", SIZES, seconds_train=0.5)).digest()
    assert trace.digest() != read(write(tmp_path / "other.parquet", [*SIZES[:-1], 64])).digest()
    assert trace.digest() != read(path, column="block_size").digest()


def test_a_run_picks_a_trajectory_up(trained):
    original = trained("model=mlp", "scheduler=exponential", "scheduler.initial=10", "scheduler.factor=1.7", "epochs=3")
    sizes = pd.read_parquet(original / "trace.parquet")["batch_size"]
    assert sizes.nunique() > 3  # the last step was cut
    common = ("model=mlp", "epochs=3", "seed=1", f"scheduler.trace={original.name}")
    replayed = pd.read_parquet(trained("scheduler=replay", *common) / "trace.parquet")["batch_size"]
    assert replayed.tolist() == sizes.tolist()
    backwards = pd.read_parquet(trained("scheduler=reversed", *common) / "trace.parquet")["batch_size"]
    assert backwards.tolist() == [*sizes.tolist()[-2::-1], sizes.iloc[-1]]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"trace": None}, "trace=None: the digest of a finished run, its folder or its trace.parquet is expected"),
        ({"trace": "???"}, "the digest of a finished run"),
        ({"trace": ""}, "the digest of a finished run"),
        ({"trace": 123}, "needs quotes"),
        ({"trace": "0123456789abcdef"}, "trace=0123456789abcdef: there is no such file or folder, and no run of that digest in"),
        ({"trace": "0a1b2c3d4e5f6789", "column": "loss"}, "column='loss': batch_size or block_size"),
    ],
)
def test_a_trace_that_is_not_there_is_refused(path, tmp_path, settings, says):
    with pytest.raises(ValueError, match=says):
        read_trajectory(**{"results": tmp_path, "column": "batch_size"} | settings)


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "runs" / "unfinished").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"unfinished has no trace\.parquet; a run writes it at its end, so let it finish"):
        read("unfinished", results=tmp_path)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"batch_size": [], "samples": []}), "holds no step"),
        (pd.DataFrame({"samples": [10, 20]}), "no column batch_size"),
        (pd.DataFrame({"batch_size": [10, 10]}), "no column samples"),
        (pd.DataFrame({"batch_size": [10, None], "samples": [10, 20]}), "not all whole numbers"),
        (pd.DataFrame({"batch_size": ["10", "20"], "samples": [10, 20]}), "not all whole numbers"),
        (pd.DataFrame({"batch_size": [10, 0], "samples": [10, 20]}), "sizes be 1 or more"),
        (pd.DataFrame({"batch_size": [10, 10], "samples": [20, 10]}), "samples must ascend"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path, frame, says):
    path = tmp_path / "trace.parquet"
    if "batch_size" in frame:
        frame = frame.assign(batch_size_granted=frame["batch_size"])
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=says):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing of the kind PAR1"])
def test_a_corrupt_file_is_refused(tmp_path, content):
    path = tmp_path / "trace.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no readable Parquet file"):
        read(path)


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (Shuffled, {"seed": -1}, "seed=-1"),
        (MeanMatched, {"match": "epochs"}, "match='epochs': updates or samples"),
        (Jump, {"at": "end"}, "at='end': maximum or change"),
    ],
)
def test_impossible_settings_are_refused(trace, kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(trace=trace, **settings)
