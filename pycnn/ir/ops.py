"""All operations of the IR, from their files."""

from .dense import BatchNorm, Conv2d, ConvTranspose2d, Linear, Norm, Scale
from .movement import Concat, Flatten, Identity, Pad, Permute, Rearrange, Reshape, Slice
from .op import Act, Int2, Mode, Op, Pads, Ref, Torch
from .pointwise import Add, Arith, Elementwise
from .pooling import AdaptivePool2d, Pool2d, Upsample

__all__ = [
    "Act",
    "AdaptivePool2d",
    "Add",
    "Arith",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Elementwise",
    "Flatten",
    "Identity",
    "Int2",
    "Linear",
    "Mode",
    "Norm",
    "Op",
    "Pad",
    "Pads",
    "Permute",
    "Pool2d",
    "Rearrange",
    "Ref",
    "Reshape",
    "Scale",
    "Slice",
    "Torch",
    "Upsample",
]
