"""All operations of the IR, from their files."""

from .attention import Attention, Softmax, TimestepEmbedding
from .dense import BatchNorm, Conv2d, ConvTranspose2d, Linear, Norm, Scale
from .matmul import MatMul
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
from .norms import GroupNorm, LayerNorm, LocalResponseNorm
from .op import Act, Int2, Mode, Op, Pads, Ref, Torch
from .pointwise import Add, Arith, Elementwise
from .pooled import PooledConv2d
from .pooling import AdaptivePool2d, Pool2d, Upsample
from .scaled import ScaledConv2d

__all__ = [
    "MOVES",
    "Act",
    "AdaptivePool2d",
    "Add",
    "Arith",
    "Attention",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Elementwise",
    "Expand",
    "Flatten",
    "GroupNorm",
    "Identity",
    "Int2",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MatMul",
    "Mode",
    "Norm",
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
    "ScaledConv2d",
    "Slice",
    "Softmax",
    "TimestepEmbedding",
    "Torch",
    "Unflatten",
    "Unfold",
    "Upsample",
]
