"""Building blocks of the zoo's networks, to be used in one's own: trainable modules whose forwards call `pycnn.ops`."""

from pycnn.blocks.aspp import ASPP
from pycnn.blocks.conv import ConvBnAct, DepthwiseSeparable, divisible
from pycnn.blocks.convnext import ConvNeXtBlock, LayerNorm2d
from pycnn.blocks.dense import DenseBlock, DenseLayer, Transition
from pycnn.blocks.diffusion import (
    AttentionBlock,
    Downsample,
    ResidualBlock,
    TimestepEmbedding,
    Upsample,
)
from pycnn.blocks.fused import (
    FusedSequential,
    attended,
    concat,
    fused,
    fused_add,
    gated,
    plain_torch,
)
from pycnn.blocks.inception import BasicConv2d, InceptionBlock
from pycnn.blocks.inverted_residual import FusedInvertedResidual, InvertedResidual
from pycnn.blocks.pyramid import FeaturePyramid
from pycnn.blocks.residual import BasicBlock, Bottleneck, Shape
from pycnn.blocks.squeeze_excite import SqueezeExcite
from pycnn.blocks.stochastic_depth import StochasticDepth
from pycnn.blocks.up import UpBlock
from pycnn.ops import timestep_embedding

__all__ = [
    "ASPP",
    "AttentionBlock",
    "BasicBlock",
    "BasicConv2d",
    "Bottleneck",
    "ConvBnAct",
    "ConvNeXtBlock",
    "DenseBlock",
    "DenseLayer",
    "DepthwiseSeparable",
    "Downsample",
    "FeaturePyramid",
    "FusedInvertedResidual",
    "FusedSequential",
    "InceptionBlock",
    "InvertedResidual",
    "LayerNorm2d",
    "ResidualBlock",
    "Shape",
    "SqueezeExcite",
    "StochasticDepth",
    "TimestepEmbedding",
    "Transition",
    "UpBlock",
    "Upsample",
    "attended",
    "concat",
    "divisible",
    "fused",
    "fused_add",
    "gated",
    "plain_torch",
    "timestep_embedding",
]
