"""Building blocks of the zoo's networks, to be used in one's own: trainable modules whose forwards call `pycnn.ops`."""

from pycnn.blocks.conv import ConvBnAct, DepthwiseSeparable, divisible
from pycnn.blocks.convnext import ConvNeXtBlock, LayerNorm2d
from pycnn.blocks.dense import DenseBlock, DenseLayer, Transition
from pycnn.blocks.fused import FusedSequential, concat, fused, fused_add, gated, plain_torch
from pycnn.blocks.inception import BasicConv2d, InceptionBlock
from pycnn.blocks.inverted_residual import FusedInvertedResidual, InvertedResidual
from pycnn.blocks.squeeze_excite import SqueezeExcite
from pycnn.blocks.stochastic_depth import StochasticDepth

__all__ = [
    "BasicConv2d",
    "ConvBnAct",
    "ConvNeXtBlock",
    "DenseBlock",
    "DenseLayer",
    "DepthwiseSeparable",
    "FusedInvertedResidual",
    "FusedSequential",
    "InceptionBlock",
    "InvertedResidual",
    "LayerNorm2d",
    "SqueezeExcite",
    "StochasticDepth",
    "Transition",
    "concat",
    "divisible",
    "fused",
    "fused_add",
    "gated",
    "plain_torch",
]
