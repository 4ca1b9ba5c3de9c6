"""Architectures: plain `nn.Module`s, each made by a function of the task's input shape and number of outputs."""

from adaptive_bench.models.cnn import cnn_small
from adaptive_bench.models.densenet import densenet22, densenet121
from adaptive_bench.models.efficientnet import efficientnet_b0
from adaptive_bench.models.lstm import lstm
from adaptive_bench.models.mlp import mlp
from adaptive_bench.models.mobilenet import mobilenet_v3_large, mobilenet_v3_small
from adaptive_bench.models.resnet import resnet8, resnet11, resnet18, resnet20, resnet50
from adaptive_bench.models.transformer import transformer
from adaptive_bench.models.vit import vit_b16, vit_tiny

__all__ = [
    "cnn_small",
    "densenet22",
    "densenet121",
    "efficientnet_b0",
    "lstm",
    "mlp",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet8",
    "resnet11",
    "resnet18",
    "resnet20",
    "resnet50",
    "transformer",
    "vit_b16",
    "vit_tiny",
]
