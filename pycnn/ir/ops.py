"""All operations of the IR, from their files."""

from .attention import Attention, Softmax, TimestepEmbedding
from .dense import BatchNorm, Conv2d, ConvTranspose2d, Linear, Norm, Scale
from .excitation import Excitation, SummedConv2d
from .inverted_residual import InvertedResidual
from .matmul import MatMul
from .mlp import Mlp
from .movement import (
    MOVES,
    Concat,
    Expand,
    Flatten,
    Identity,
    Pad,
    Permute,
    Rearrange,
    Reshape,
    Slice,
    Unflatten,
    Unfold,
)
from .normed import NormedConv2d
from .norms import GroupNorm, LayerNorm, LocalResponseNorm
from .op import Act, Int2, Mode, Op, Pads, Ref, Torch
from .pointwise import Add, Arith, Elementwise
from .pooled import PooledConv2d
from .pooling import AdaptivePool2d, Pool2d, Upsample

__all__ = [
    "MOVES",
    "Act",
    "AdaptivePool2d",
    "Add",
    "Arith",
    "Attention",
    "BatchNorm",
    "Excitation",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Elementwise",
    "Expand",
    "Flatten",
    "GroupNorm",
    "Identity",
    "Int2",
    "InvertedResidual",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MatMul",
    "Mlp",
    "Mode",
    "Norm",
    "NormedConv2d",
    "Op",
    "Pad",
    "Pads",
    "Permute",
    "Pool2d",
    "PooledConv2d",
    "Rearrange",
    "Ref",
    "Reshape",
    "Scale",
    "Slice",
    "Softmax",
    "SummedConv2d",
    "TimestepEmbedding",
    "Torch",
    "Unflatten",
    "Unfold",
    "Upsample",
]
