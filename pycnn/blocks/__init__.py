"""Building blocks of the zoo's networks, to be used in one's own: trainable modules whose forwards call `pycnn.ops`."""

from pycnn.blocks.fused import FusedSequential, concat, fused, plain_torch

__all__ = ["FusedSequential", "concat", "fused", "plain_torch"]
