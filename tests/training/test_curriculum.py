"""A curriculum scores samples by what a copy of the model finds hard, and leaves no other trace in a run."""

import copy

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from adaptive_bench.__main__ import conf
from adaptive_bench.datasets import Evaluation, Task, digits
from adaptive_bench.datasets.classification import EVALUATION_ROWS, Classification
from adaptive_bench.models import cnn_small, mlp
from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import VectorStream
from adaptive_bench.training import checkpoint
from adaptive_bench.training.checkpoint import weights_digest
from adaptive_bench.training.curriculum import Curriculum, Scores

SETTINGS = {"span": 5, "scoring_epochs": 1, "batch": 32, "lr": 0.05}


def task_of(train_size=200, crop=1, flip=True) -> Classification:
    return digits(
        train_size=train_size, validation_size=50, test_size=50, mean=[0.285], std=[0.352], crop=crop, flip=flip, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip


def model_of(make=cnn_small) -> nn.Module:
    torch.manual_seed(0)
    return make(inputs=(1, 8, 8), outputs=10)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "scores" / "digest.pt"


def test_cached_scores_are_the_fresh_ones(cache, tmp_path):
    curriculum, task = Curriculum(**SETTINGS), task_of()
    fresh = curriculum.scores(model_of(), task, seed=0, cache=cache)
    cached = curriculum.scores(model_of(), task, seed=0, cache=cache)
    again = curriculum.scores(model_of(), task, seed=0, cache=tmp_path / "other.pt")
    assert fresh.difficulty.shape == (200,)
    assert torch.equal(fresh.difficulty, cached.difficulty)
    assert torch.equal(fresh.difficulty, again.difficulty)
    assert cached.seconds == fresh.seconds > 0  # a run that finds them there has to be charged as much


def test_scoring_leaves_no_other_trace_in_the_run(cache):
    task, model, untouched = task_of(), nn.Sequential(model_of(), nn.Dropout(0.1)), task_of()
    for stream in (task.train, untouched.train):
        stream.take(BatchShape(77))
    weights, position, random = weights_digest(model), task.train.state_dict(), torch.get_rng_state()
    Curriculum(**SETTINGS).scores(model, task, seed=0, cache=cache)
    assert weights_digest(model) == weights
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert task.train.state_dict() == position
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(task.train.take(BatchShape(300)).inputs, untouched.train.take(BatchShape(300)).inputs)


def test_scores_do_not_depend_on_where_the_run_stands(tmp_path):
    """Neither on the stream's position nor on the state of torch's generator, from which dropout draws."""
    model, task, curriculum = nn.Sequential(nn.Dropout(0.5), model_of()), task_of(), Curriculum(**SETTINGS)
    first = curriculum.scores(model, task, seed=0, cache=tmp_path / "first.pt")
    torch.rand(3)
    task.train.take(BatchShape(250))
    second = curriculum.scores(model, task, seed=0, cache=tmp_path / "second.pt")
    other = curriculum.scores(model, task, seed=1, cache=tmp_path / "other.pt")
    assert torch.equal(first.difficulty, second.difficulty)
    assert not torch.equal(first.difficulty, other.difficulty)


def test_samples_are_scored_without_augmentation_and_in_evaluation_mode():
    task, model = task_of(), model_of()
    before = copy.deepcopy(model.state_dict())
    got = task.sample_losses(model)
    model.eval()
    plain = task.train.normalise(task.train.images)
    one_by_one = [F.cross_entropy(model(image[None]), label[None]) for image, label in zip(plain, task.train.labels, strict=True)]
    torch.testing.assert_close(got, torch.stack(one_by_one).detach())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert task.train.state_dict() == {"epoch": 0, "position": 0}
    assert not got.is_inference()


def test_vectors_with_two_classes_are_scored_across_chunks():
    count = EVALUATION_ROWS + 1
    inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    train = VectorStream(inputs, (inputs[:, 0] > 0).long(), seed=0)
    task, model = Classification(train=train, held_out={}, inputs=(3,), outputs=1), nn.Linear(3, 1)
    margins = (2 * train.targets - 1) * model(inputs).squeeze(1)
    torch.testing.assert_close(task.sample_losses(model), F.softplus(-margins).detach())


def test_no_scoring_epoch_scores_by_the_untrained_model(cache):
    task, model = task_of(), model_of(mlp)
    found = Curriculum(**SETTINGS | {"scoring_epochs": 0}).scores(model, task, seed=0, cache=cache)
    assert torch.equal(found.difficulty, task.sample_losses(model))


@pytest.mark.parametrize("make", [mlp, cnn_small])
def test_mislabelled_samples_come_late(cache, make):
    task = task_of(train_size=1000, crop=0, flip=False)
    flipped = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:100]
    task.train.labels[flipped] = (task.train.labels[flipped] + 3) % 10
    Curriculum(**SETTINGS | {"scoring_epochs": 3}).order_samples(model_of(make), task, seed=0, cache=cache)
    (piece,) = task.train.order.advance(1000)
    served = task.train.order.indices(piece)  # epoch 0: from easy to hard
    late = torch.isin(served, flipped).nonzero()  # the places of the mislabelled among 0 to 999; their mean is 499.5 by chance
    assert late.float().mean() > 850


def test_the_order_is_made_of_the_scores(cache):
    task, curriculum = task_of(), Curriculum(**SETTINGS)
    seconds = curriculum.order_samples(model_of(), task, seed=0, cache=cache)
    scores = curriculum.scores(model_of(), task, seed=0, cache=cache)
    assert isinstance(scores, Scores)
    assert seconds == scores.seconds
    expected = task.train.labels[scores.difficulty.argsort(stable=True)]
    assert torch.equal(task.train.take(BatchShape(200)).targets, expected)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_fewer_samples(path):
    checkpoint.save({"difficulty": torch.zeros(199), "seconds": 1.0}, path)


def not_finite(path):
    checkpoint.save({"difficulty": torch.full((200,), torch.inf), "seconds": 1.0}, path)


def something_else(path):
    torch.save([1, 2], path)


def text(path):
    path.write_text("no scores")


@pytest.mark.parametrize("spoil", [truncated, something_else, text])
def test_a_damaged_cache_is_set_aside_and_made_again(cache, spoil):
    curriculum, task, model = Curriculum(**SETTINGS | {"scoring_epochs": 0}), task_of(), model_of()
    whole = curriculum.scores(model, task, seed=0, cache=cache)
    spoil(cache)
    with pytest.warns(UserWarning, match=r"digest\.pt is now digest\.damaged"):
        again = curriculum.scores(model, task, seed=0, cache=cache)
    assert torch.equal(again.difficulty, whole.difficulty)
    assert curriculum.scores(model, task, seed=0, cache=cache).seconds == again.seconds


@pytest.mark.parametrize("spoil", [of_fewer_samples, not_finite])
def test_a_cache_of_something_else_is_refused(cache, spoil):
    curriculum, task, model = Curriculum(**SETTINGS | {"scoring_epochs": 0}), task_of(), model_of()
    curriculum.scores(model, task, seed=0, cache=cache)
    spoil(cache)
    with pytest.raises(ValueError, match=r"digest\.pt .*delete it"):
        curriculum.scores(model, task, seed=0, cache=cache)


def test_scores_that_diverge_are_refused_and_not_kept(cache):
    with pytest.raises(ValueError, match=r"lr=1e\+30: the loss of the scoring epochs"):
        Curriculum(**SETTINGS | {"lr": 1e30}).scores(model_of(mlp), task_of(), seed=0, cache=cache)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("span", 0, "span=0: a finite number above 0 is expected"),
        ("span", float("nan"), "span=nan: a finite number above 0"),
        ("span", "long", "span='long'"),
        ("span", True, "span=True"),
        ("scoring_epochs", -1, "scoring_epochs=-1: a whole number from 0 up"),
        ("scoring_epochs", 1.5, "scoring_epochs=1.5"),
        ("batch", 0, "batch=0: a whole number from 1 up"),
        ("batch", None, "batch=None"),
        ("lr", 0, "lr=0: a finite number above 0"),
        ("lr", float("inf"), "lr=inf"),
    ],
)
def test_bad_settings_are_refused(setting, value, says):
    with pytest.raises(ValueError, match=says):
        Curriculum(**SETTINGS | {setting: value})


class Unscorable(Task):
    train = VectorStream(torch.zeros(3, 1), torch.zeros(3), seed=0)

    def loss(self, model, batch):
        return torch.zeros(())

    def evaluate(self, model, split):
        return Evaluation(value=0.0, loss=0.0)

    def size(self, split):
        return 1


def test_a_task_that_cannot_be_scored_is_refused(cache):
    curriculum = Curriculum(**SETTINGS)
    curriculum.check(task_of())
    for refuse in (curriculum.check, lambda task: curriculum.order_samples(model_of(), task, seed=0, cache=cache)):
        with pytest.raises(ValueError, match=r"samples of Unscorable cannot be scored one by one.*order=shuffled"):
            refuse(Unscorable())


def test_the_options_of_the_slot():
    options = {file.stem: OmegaConf.load(file) for file in (conf() / "order").glob("*.yaml")}
    assert set(options) == {"by_length", "curriculum", "shuffled"}
    assert options["shuffled"] == {}
    assert isinstance(instantiate(options["curriculum"]), Curriculum)
