"""Architectures: plain `nn.Module`s, each made by a function of the task's input shape and number of outputs."""

from adaptive_bench.models.cnn import cnn_small
from adaptive_bench.models.lstm import lstm
from adaptive_bench.models.mlp import mlp
from adaptive_bench.models.resnet import resnet8, resnet18, resnet20
from adaptive_bench.models.transformer import transformer

__all__ = ["cnn_small", "lstm", "mlp", "resnet8", "resnet18", "resnet20", "transformer"]
