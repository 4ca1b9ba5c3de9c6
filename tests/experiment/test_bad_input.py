"""Bad input is one clear line before anything is trained or written."""

import pytest

from tests.conftest import SMALL

TEXT = ["dataset=markov_text", "model=lstm_small"]
BAD = [
    (["scheduler=fixd"], ["scheduler/fixd", "adabatch", "divebatch", "exponential"]),
    (["dataset=mnist"], ["dataset/mnist", "cifar10", "digits"]),
    (["scheduler.tehta=2"], ["tehta"]),
    (["bach_size.maximum=2"], ["bach_size"]),
    (["batch_size.minimum=64", "batch_size.maximum=32"], ["batch_size.minimum=64 is above maximum=32"]),
    (["batch_size.minimum=500"], ["batch_size.minimum=500", "up to 200"]),
    (["scheduler.initial=0"], ["scheduler.initial=0", "above 0"]),
    (["scheduler.initial=-8"], ["scheduler.initial=-8"]),
    (["scheduler.initial=nan"], ["scheduler.initial=nan"]),
    (["scheduler.initial=many"], ["scheduler.initial='many'"]),
    (["batch_size.maximum=0"], ["batch_size.maximum=0"]),
    (["batch_size.maximum=nan"], ["batch_size.maximum=nan"]),
    (["epochs=0"], ["epochs=0"]),
    (["epochs=-1"], ["epochs=-1"]),
    (["epochs=nan"], ["epochs=nan"]),
    (["evaluate_every=0"], ["evaluate_every=0"]),
    (["evaluate_every=often"], ["evaluate_every='often'"]),
    (["evaluate_every=[]"], ["evaluate_every=[]", "at least one"]),
    (["evaluate_every=[1,0.5]"], ["evaluate_every=[1, 0.5]", "ascending"]),
    (["evaluate_every=[0,1]"], ["evaluate_every=[0, 1]", "above 0"]),
    (["evaluate_every=[30,40]"], ["evaluate_every=[30, 40]", "beyond the budget of 10 epochs"]),
    (["evaluate_every={first:0.1}"], ["evaluate_every={'first': 0.1}", "factor"]),
    (["evaluate_every={first:0.1,factor:1}"], ["evaluate_every.factor=1", "above 1"]),
    (["evaluate_every={first:0.1,factor:2,last:1}"], ["'last': 1", "largest"]),
    (["evaluate_every={first:0.5,factor:2,largest:0.1}"], ["evaluate_every.largest=0.1", "raise largest"]),
    (["evaluate_every={first:30,factor:2,largest:null}"], ["beyond the budget of 10 epochs"]),
    (["optimizer.lr=-0.1"], ["optimizer.lr=-0.1"]),
    (["optimizer.momentum=-1"], ["error: optimizer: Invalid momentum value: -1"]),
    (["max_grad_norm=0"], ["max_grad_norm=0"]),
    (["seed=-1"], ["seed=-1"]),
    (["seed=1.5"], ["seed=1.5"]),
    (["threads=0"], ["threads=0"]),
    (["keep_weights=maybe"], ["keep_weights='maybe': true or false"]),
    (["scheduler=inner_product_test", "scheduler.half_life=0", "estimator=microbatch", "model=mlp"],
     ["scheduler.half_life=0", "4 micro-batches", "chunks=32"]),
    (["scheduler=smith", "lr_schedule=cosine"], ["scheduler=smith", "add lr_rule=smith"]),
    (["scheduler=seesaw", "lr_rule=linear", "lr_schedule=cosine"], ["scheduler=seesaw", "add lr_rule=seesaw"]),
    (["scheduler=smith", "lr_rule=smith"], ["scheduler=smith", "never does"]),
    (["device=tpu"], ["device='tpu': auto or cpu or cuda"]),
    (["estimator=microbatch", "estimator.chunks=1", "scheduler=divebatch"], ["estimator.", "chunks=1"]),
    (["scheduler=divebatch", "estimator=per_sample", "estimator.fraction=0"], ["estimator.", "fraction=0"]),
    (["scheduler@block_scheduler=linear"], ["block_scheduler=Linear", "no length"]),
    (["dataset.train_size=5000"], ["train_size=5000", "1437"]),
    (["dataset.validation_size=0"], ["validation_size=0"]),
    (["dataset=cifar10", "dataset.root=nowhere"], ["error: dataset: nowhere/cifar10/train.npz is missing", "-bench fetch"]),
    (["dataset=synthetic_convex"], ["model.", "vectors", "model=mlp"]),
    (["results=/dev/null/results"], ["/dev/null/results", "cannot be written"]),
    (["lr_schedule=multistep", "lr_schedule.milestones=[2,1]"], ["milestones", "ascending"]),
    (["lr_schedule=cosine", "lr_schedule.warmup=99"], ["warmup=99"]),
    (["lr_schedule=cosine", "lr_schedule.final=nan"], ["lr_schedule.final=nan"]),
    (["optimizer.weight_decay=inf"], ["optimizer.weight_decay=inf"]),
    (["dataset.std=[nan]"], ["dataset.std=[nan]"]),
    (["scheduler=gns", "scheduler.kappa=0"], ["scheduler.kappa=0", "above 0"]),
    (["scheduler=confidence", "scheduler.low=0.8"], ["scheduler.low=0.8", "high=0.7"]),
    (["scheduler=deba", "scheduler.up=0.3"], ["scheduler.up=0.3", "down=0.45", "out of order"]),
    (["scheduler=deba", "scheduler.weights={variance:0.5,norm_variation:0.2,loss_variation:0.2}"],
     ["scheduler.weights", "sum to 1"]),
    (["scheduler=divebatch", "estimator=sheet", "estimator.microbatches=3", "model.norm=group"],
     ["micro-batches", "batch_size.multiple_of to 3"]),
    (["scheduler=simigrad", "estimator=per_sample"], ["PerSample cannot measure halves_cosine"]),
    (["scheduler=replay"], ["scheduler.trace=???", "digest"]),
    (["scheduler=shuffled", "scheduler.trace=nowhere"], ["scheduler.trace=nowhere", "no such file"]),
    (["scheduler=replay", f"scheduler.trace={__file__}"], ["scheduler.trace", "no readable Parquet file"]),
    (["scheduler=deba", "scheduler.calibration=nowhere.yaml"], ["scheduler.calibration=nowhere.yaml"]),
    ([*TEXT, "scheduler@block_scheduler=gns"],
     ["block_scheduler=GradientNoiseScale", "positions of a row"]),
    ([*TEXT, "scheduler.initial=4", "order=curriculum"], ["order", "curriculum"]),
    (["scheduler.initial=300"], ["scheduler=Fixed", "size 300", "200 samples", "lower scheduler.initial"]),
    ([*TEXT, "block_scheduler.initial=200"], ["block_scheduler=Fixed", "size 200", "199"]),
    ([*TEXT, "scheduler.initial=200"], ["scheduler=Fixed", "size 200", "199"]),
    ([*TEXT, "scheduler.initial=20"], ["20 columns and blocks of 32, 640 tokens a step", "199"]),
    ([*TEXT, "scheduler=linear", "scheduler.initial=4"], ["batch_size.maximum=199", "to 6 or less"]),
    ([*TEXT, "dataset.evaluation_batch=50"], ["dataset.evaluation_batch=50", "49 tokens"]),
    ([*TEXT, "block_size.minimum=300"], ["block_size.minimum=300", "up to 199"]),
    (["tokens_per_step=fixed"], ["tokens_per_step=fixed", "no length"]),
    ([*TEXT, "scheduler.initial=4", "tokens_per_step=fixed", "scheduler=linear", "batch_size.maximum=6"],
     ["tokens_per_step=fixed", "scheduler=Linear", "take scheduler=fixed"]),
    ([*TEXT, "scheduler.initial=4", "tokens_per_step=fixed", "scheduler@block_scheduler=linear"],
     ["block_size.maximum=199", "128 tokens", "to 128 or less"]),
    ([*TEXT, "scheduler.initial=4", "tokens_per_step=fixed",
      "scheduler@block_scheduler=reversed", "block_scheduler.column=block_size",
      "block_scheduler.schedule={_target_:adaptive_bench.schedulers.linear.Linear,initial:16}"],
     ["tokens_per_step=fixed", "block_scheduler=Reversed", "take floating"]),
    ([*TEXT, "scheduler=cabs", "scheduler.initial=4", "block_scheduler.initial=4", "batch_size.maximum=40",
      "dataset.loss_reduction=sum_time"],
     ["scheduler=CABS", "loss_reduction=mean"]),
    (["tokens_per_step=some"], ["tokens_per_step='some'", "floating or fixed"]),
    ([*TEXT, "scheduler.initial=4", "dataset.loss_reduction=sum_time", "lr_rule=linear", "scheduler@block_scheduler=linear"],
     ["lr_rule=Linear", "sum_time", "twice"]),
    (["lr_schedule=plateau", "scheduler=smith"], ["scheduler.schedule=Plateau", "depends on what the run observes"]),
    (["dataset=ptb", "dataset.root=nowhere", "model=lstm_small"], ["nowhere/ptb/ptb.train.txt is missing", "fetch ptb"]),
    (["momentum_half_life=0"], ["momentum_half_life=0"]),
    (["batch_size.cooldown=-1"], ["batch_size.cooldown=-1"]),
    (["order=curriculum", "order.span=0"], ["order.span=0"]),
    (["model.norm=layer"], ["model.norm='layer'", "batch or group or none"]),
    (["max_physical_batch=0"], ["max_physical_batch=0", "from 1 up"]),
    (["max_physical_batch=1.5"], ["max_physical_batch=1.5"]),
    (["precision=fp8"], ["precision='fp8'", "fp32 or tf32 or bf16 or fp16"]),
    (["precision=16"], ["precision=16"]),
    (["compile=maybe"], ["compile='maybe'", "true or false"]),
    (["batching=bucketed"], ["batching", "Classification", "dataset=ptb_lines"]),
    (["dataset=lengths", "model=lstm_small", "batching=packed"], ["batching.group=packed", "LanguageLSTM", "model=gpt_mini"]),
    (["dataset=lengths", "model=gpt_mini", "batching=packed", "scheduler=gns"], ["group=packed", "grad_variance", "padded"]),
    (["dataset=lengths", "model=gpt_mini", "batching=packed", "batching.block=20"], ["batching.block=20", "40 tokens"]),
    (["dataset=lengths", "model=gpt_mini", "batching=tokens", "scheduler=linear"], ["batching.count=tokens", "size.minimum"]),
    (["dataset=lengths", "model=gpt_mini", "batching=tokens", "batching.buckets=1"], ["batching.buckets=1", "from 2 up"]),
    (["dataset=ptb_lines", "dataset.root=nowhere", "model=lstm_small"], ["nowhere/ptb/ptb.train.txt is missing"]),
    (["order=by_length"], ["order", "Classification", "order=shuffled"]),
    (["memory=limit", "memory.low=0.95"], ["memory.low=0.95, high=0.9", "0 < low"]),
    (["scheduler=memory", "scheduler.margin=0.5"], ["scheduler.low=0.7", "0 < low"]),
    (["scheduler=memory", "memory=limit"], ["memory=limit: scheduler=memory", "leave memory out"]),
    (["compile=true", "scheduler=divebatch"], ["compile=true: Auto measures", "estimator=microbatch or compile=false"]),
]  # fmt: skip


# all of them as single runs; each kind of them inside a sweep, where no run may start before all are checked
@pytest.mark.parametrize(
    ("overrides", "says", "sweep"),
    [(*case, False) for case in BAD] + [(*case, True) for case in BAD[:8:2] + BAD[8::4]],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else str(value),
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(cli, tmp_path, overrides, says, sweep):
    small = [] if any(o.startswith(("dataset=cifar10", "dataset=synth")) for o in overrides) else SMALL[:3]
    small = [s for s in small if s.split("=")[0] not in {o.split("=")[0] for o in overrides}]
    results = [] if any(o.startswith("results=") for o in overrides) else [f"results={tmp_path / 'results'}"]
    code, out, err = cli(
        "train", *(["-m", "seed=0,1"] if sweep and "seed" not in overrides[0] else []), *small, *results, *overrides
    )
    assert code != 0
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert lines[0].startswith("adaptive-bench: error: ")
    for words in says:
        assert words in lines[0]
    assert out == ""
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written == []
