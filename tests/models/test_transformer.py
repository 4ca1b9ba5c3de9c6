"""The transformer: causal, without a longest block or a state, and usable wherever the recurrent models are."""

import io
import math

import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from adaptive_bench.datasets.markov_text import best_perplexity, markov_text
from adaptive_bench.datasets.text import LanguageModelling
from adaptive_bench.estimators import Auto, MicroBatch, PerSample
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.models import transformer
from adaptive_bench.models.transformer import LanguageTransformer, sinusoids
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.streams import Batch
from tests.conftest import composed

VOCABULARY = 7
NEEDS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})
CPU = torch.device("cpu")


def network(**settings: object) -> LanguageTransformer:
    """In float64, with weights far larger than a fresh model's, so that every part of it counts."""
    torch.manual_seed(0)
    sizes = {"width": 12, "heads": 3, "layers": 2, "init": 0.5}
    return transformer(inputs=(), outputs=VOCABULARY, **sizes | settings).double()


def text(length: int, *, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))


def task_of(length: int = 200) -> LanguageModelling:
    return LanguageModelling(
        train=text(length), held_out={"validation": text(83, seed=1)}, vocabulary=VOCABULARY, loss_reduction="mean",
        evaluation_batch=4, evaluation_block=9,
    )  # fmt: skip


def parameters(*, vocabulary: int, width: int, layers: int, tied: bool) -> int:
    """A block has 12 width^2 weights, 9 width biases (3 + 1 of attention, 4 + 1 behind it) and two norms of 2 width."""
    return vocabulary * width * (1 if tied else 2) + layers * (12 * width**2 + 13 * width) + 2 * width


@pytest.mark.parametrize("tied", [True, False])
def test_size_dropout_and_initialisation_are_those_of_the_configuration(tied):
    model = instantiate(composed("model=gpt_mini", f"model.tied={tied}").model, inputs=(), outputs=1000)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameters(vocabulary=1000, width=128, layers=4, tied=tied)
    assert (model.output.weight is model.embedding.weight) == tied
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.1}
    assert {(block.attention.dropout, block.attention.heads) for block in model.blocks} == {(0.1, 4)}
    for name, parameter in model.named_parameters():
        if "bias" in name:
            assert not parameter.any()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            into_residual = "outward" in name or "contract" in name
            assert parameter.std().item() == pytest.approx(0.02 / (8**0.5 if into_residual else 1), rel=0.03)
            assert abs(parameter.mean().item()) < 0.001


def test_no_two_layers_begin_with_the_same_weights():
    weights = [parameter for parameter in network(layers=3).parameters() if parameter.dim() == 2]
    assert len(weights) == 1 + 3 * 4
    assert len({weight.sum().item() for weight in weights}) == len(weights)


def test_a_fresh_model_expects_every_token_alike():
    torch.manual_seed(0)
    model, tokens = transformer(inputs=(), outputs=1000, width=64, heads=4, layers=4), torch.randint(1000, (8, 40))
    logits, _ = model(tokens[:, :-1])
    assert F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item() == pytest.approx(math.log(1000), rel=0.01)


def test_a_block_is_the_pre_norm_layer_of_torch_under_a_causal_mask():
    block = network().blocks[1]
    for bias in (parameter for name, parameter in block.named_parameters() if "bias" in name):
        nn.init.normal_(bias)
    theirs = nn.TransformerEncoderLayer(
        12, 3, dim_feedforward=48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    for mine, other in (
        (block.attention_norm, theirs.norm1),
        (block.attention.outward, theirs.self_attn.out_proj),
        (block.feedforward_norm, theirs.norm2),
        (block.expand, theirs.linear1),
        (block.contract, theirs.linear2),
    ):
        other.load_state_dict(mine.state_dict())
    theirs.self_attn.in_proj_weight.data.copy_(block.attention.inward.weight)
    theirs.self_attn.in_proj_bias.data.copy_(block.attention.inward.bias)
    activations = torch.randn(4, 9, 12, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    torch.testing.assert_close(block(activations), theirs(activations, src_mask=mask, is_causal=True))


@pytest.mark.parametrize("width", [12, 7])
def test_positions_are_the_published_sinusoids(width):
    got = sinusoids(3000, width, device=CPU)
    assert got.shape == (3000, width)
    for t in (0, 1, 57, 2999):
        for i in range(width):
            angle = t / 10_000 ** ((i - i % 2) / width)
            assert got[t, i].item() == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-10)


def test_later_tokens_change_nothing_before_them_and_earlier_ones_do():
    model, tokens = network(), text(30).view(2, 15)
    logits, _ = model(tokens)
    for place in (1, 8, 14):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % VOCABULARY
        others, _ = model(changed)
        torch.testing.assert_close(others[:, :place], logits[:, :place], rtol=1e-12, atol=1e-12)
        assert ((others - logits).abs().amax(2)[:, place:] > 1e-3).all()
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % VOCABULARY
    assert ((model(changed)[0] - logits).abs().amax(2) > 1e-6).all()


def test_the_order_of_the_tokens_counts():
    logits, _ = network()(torch.tensor([[1, 2, 3], [2, 1, 3]]))
    assert (logits[0, 2] - logits[1, 2]).abs().max() > 1e-3


def test_blocks_of_any_length_have_the_same_beginning():
    model, tokens = network(), text(1300)[None]
    logits, state = model(tokens)
    assert logits.shape == (1, 1300, VOCABULARY)
    assert state == ()
    for block in (1, 2, 33, 640):
        torch.testing.assert_close(model(tokens[:, :block])[0], logits[:, :block])


def test_rows_do_not_see_each_other():
    model, tokens = network(), text(36).view(4, 9)
    logits, _ = model(tokens)
    for row in range(4):
        torch.testing.assert_close(model(tokens[row : row + 1])[0][0], logits[row])


def test_the_loss_of_a_batch_is_the_mean_of_its_rows_alone():
    task, model = task_of(), network()
    for shape in (BatchShape(5, 4), BatchShape(5, 11), BatchShape(3, 6)):
        batch = task.train.take(shape)
        alone = [task.loss(model, Batch(batch.inputs[i : i + 1], batch.targets[i : i + 1])).item() for i in range(shape.batch)]
        assert task.loss(model, batch).item() == pytest.approx(sum(alone) / shape.batch, rel=1e-12)


@pytest.mark.parametrize("dropped", ["nothing", "activations", "attention weights"])
def test_evaluation_differs_from_training_by_the_dropout_alone(dropped):
    model, tokens = network(), text(400).view(4, 100)
    for block in model.blocks:
        block.attention.dropout = 0.3 if dropped == "attention weights" else 0.0
        block.dropout.p = 0.3 if dropped == "activations" else 0.0
    trained, _ = model(tokens)
    model.eval()
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            evaluated, _ = model(tokens)
        assert torch.allclose(trained, evaluated, rtol=1e-10) == (dropped == "nothing")


@pytest.mark.parametrize("block", [8, 16, 64, 65])
def test_attention_costs_the_square_of_the_block_and_the_rest_its_length(block):
    """Two operations a weight and token, and two products of (block, block, width) a layer and row."""
    model, weights = network(width=16, heads=2), 2 * 12 * 16**2 + VOCABULARY * 16
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(3, block, dtype=torch.int64))
    assert counter.get_total_flops() == 2 * 3 * block * weights + 2 * 3 * 2 * 2 * block**2 * 16


@pytest.mark.parametrize("chunks", [2, 3, 5])
def test_micro_batches_give_the_gradient_of_the_whole_batch(chunks):
    whole, parts = task_of(), task_of()
    models = network(), network()
    estimator = MicroBatch(chunks=chunks)
    for shape in (BatchShape(5, 4), BatchShape(5, 11), BatchShape(3, 6), BatchShape(3, 2)):
        seen = [
            estimator.backward(task.loss, model, task.train.take(shape), needs)
            for task, model, needs in zip((whole, parts), models, (frozenset(), NEEDS), strict=True)
        ]
        assert seen[0].loss == pytest.approx(seen[1].loss, rel=1e-12)
        assert seen[1].stats[Stat.GRAD_VARIANCE] > 0
        for first, second in zip(*(model.parameters() for model in models), strict=True):
            torch.testing.assert_close(first.grad, second.grad, rtol=1e-9, atol=1e-13)


def test_auto_takes_micro_batches_for_a_tied_weight_and_layer_rules_for_two_weights():
    auto = Auto()
    auto.check(network(), NEEDS)
    assert auto.choice == "microbatch: modules share a parameter (embedding.weight = output.weight)"
    auto.check(network(tied=False), NEEDS)
    assert auto.choice == "per_sample: layer rules cover 100% of the trainable parameters"


@pytest.mark.parametrize("block", [2, 40])
def test_layer_rules_give_the_norms_of_each_rows_own_gradient(block):
    task, model = task_of(), network(tied=False)
    batch = task.train.take(BatchShape(4, block))
    norms = []
    for i in range(4):
        model.zero_grad()
        task.loss(model, Batch(batch.inputs[i : i + 1], batch.targets[i : i + 1])).backward()
        norms.append(sum(parameter.grad.square().sum().item() for parameter in model.parameters()))
    seen = PerSample(fraction=1.0).backward(task.loss, model, batch, frozenset({Stat.MEAN_SAMPLE_SQ_NORM}))
    assert seen.stats[Stat.MEAN_SAMPLE_SQ_NORM] == pytest.approx(sum(norms) / 4, rel=1e-10)


def test_the_empty_state_of_a_text_is_saved_and_goes_on():
    first, second, model = task_of(), task_of(), network()
    first.loss(model, first.train.take(BatchShape(4, 5)))
    file = io.BytesIO()
    torch.save({"task": first.state_dict(), "stream": first.train.state_dict()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    assert kept["task"] == {"state": [], "next": [0, 20]}
    second.load_state_dict(kept["task"])
    second.train.load_state_dict(kept["stream"])
    losses = [task.loss(model, task.train.take(BatchShape(4, 7))).item() for task in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_it_finds_the_token_that_matters():
    """Three tokens back: without attention to it, no perplexity below the vocabulary's size is possible."""
    process = {"vocabulary": 8, "distance": 3, "strength": 0.9}
    task = markov_text(
        **process, train_size=110_000, validation_size=2000, test_size=100, loss_reduction="mean", evaluation_batch=20,
        evaluation_block=32, seed=0, device=CPU,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformer(inputs=(), outputs=task.outputs, width=32, heads=2, layers=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(250):
        optimizer.zero_grad()
        task.loss(model, task.train.take(BatchShape(16, 32 if step % 2 else 20))).backward()
        optimizer.step()
    assert best_perplexity(3, **process) < task.evaluate(model, "validation").value < 3 < best_perplexity(2, **process)


# blocks of 20 and of 12 in turn: 128 samples are their mean at 8 rows, and an epoch is 2048
CHANGING = (
    "dataset=markov_text", "model=gpt_mini", "dataset.train_size=2049", "epochs=1", "scheduler=gns", "scheduler.initial=8",
    "batch_size.maximum=16", "scheduler@block_scheduler=cyclical", "block_scheduler.initial=20", "block_scheduler.cycle=2",
    "block_scheduler.increment=-8", "block_scheduler.interval=0.0625",
)  # fmt: skip


def test_a_run_takes_a_block_of_another_length_at_every_step(trained):
    trace = pd.read_parquet(trained(*CHANGING) / "trace.parquet")
    assert trace["block_size"].tolist() == [20, 12] * 8
    assert trace["batch_size"].tolist() == [8] * 16
    assert trace["samples"].iloc[-1] == 2048
    assert trace["grad_variance"].notna().any()


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    cfg = composed(*CHANGING, f"results={tmp_path}")
    first, second = (experiment(cfg) for _ in range(2))
    for step in range(7):
        if step == 3:
            first.save()
        first.step()
    second.resume()
    while second.samples < first.samples:
        second.step()
    assert [row["loss"] for row in first.steps] == [row["loss"] for row in second.steps]
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inputs": (3, 32, 32)}, r"inputs=\(3, 32, 32\): this model expects token ids"),
        ({"width": 0}, "width=0"),
        ({"width": 6.0}, "width=6.0"),
        ({"heads": True}, "heads=True"),
        ({"heads": 4}, "heads=4: width=6 is not divisible by the number of heads"),
        ({"layers": 1.5}, "layers=1.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"init": 0.0}, "init=0.0"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        transformer(**{"inputs": (), "outputs": 3, "width": 6, "heads": 2, "layers": 1} | settings)
