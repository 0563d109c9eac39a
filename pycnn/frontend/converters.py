"""Fills the table: each of these files enters its converters into it.

A converter has the torch function's own parameter names and defaults, so Python binds the arguments; it adds nodes
through the builder and returns the last value, or raises Unsupported with a sentence.  One entry serves every spelling
of a function: torch.*, torch.nn.functional.*, Tensor.*, and the in-place ones (the trace gives the result a new value).
"""

from . import (
    activations,
    arith,
    attention,
    dense,
    lines,
    matmul,
    movement,
    pieces,
    pooling,
    rearrange,
    reduce,
    statistics,
    windows,
)

__all__ = [
    "activations",
    "arith",
    "attention",
    "dense",
    "lines",
    "matmul",
    "movement",
    "pieces",
    "pooling",
    "rearrange",
    "reduce",
    "statistics",
    "windows",
]
