"""`fused` under the name the family files import it by; it lives in `pycnn.blocks.fused`."""

from pycnn.blocks.fused import FusedSequential, concat, fused, plain_torch

__all__ = ["FusedSequential", "concat", "fused", "plain_torch"]
