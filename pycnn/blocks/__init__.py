"""Building blocks of the zoo's networks, to be used in one's own: trainable modules whose forwards call `pycnn.ops`."""

from pycnn.blocks.dense import DenseBlock, DenseLayer, Transition
from pycnn.blocks.fused import FusedSequential, concat, fused, plain_torch
from pycnn.blocks.inception import BasicConv2d, InceptionBlock

__all__ = [
    "DenseBlock",
    "DenseLayer",
    "Transition",
    "BasicConv2d",
    "InceptionBlock",
    "FusedSequential",
    "concat",
    "fused",
    "plain_torch",
]
