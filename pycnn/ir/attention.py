"""What transformers and diffusion networks add: softmax, attention, embedded time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from .dim import Shape
from .op import Op
from .shape_rules import ShapeError, check_rank
from .source import TensorTable


@dataclass(frozen=True)
class Softmax(Op):
    """y = exp(x - max) / sum(exp(x - max)) along `axis` (not negative)."""

    name: ClassVar[str] = "softmax"
    axis: int


@dataclass(frozen=True)
class Attention(Op):
    """y = softmax(scale * q kᵀ) v of each head; q [n, l, heads * d], k [n, s, heads * d], v [n, s, heads * dv]."""

    name: ClassVar[str] = "attention"
    arity: ClassVar[tuple[int, int]] = (3, 3)
    heads: int
    scale: float

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        (n, length, c), (_, keys, _), (_, _, width) = (
            check_rank(shape, 3, self.name) for shape in shapes
        )
        if shapes[1:] != [(n, keys, c), (n, keys, width)] or c % self.heads or width % self.heads:
            raise ShapeError(
                f"attention: {self.heads} heads of {', '.join(str(list(s)) for s in shapes)}"
            )
        return ((n, length, width),)


@dataclass(frozen=True)
class TimestepEmbedding(Op):
    """y = (sin(t f), cos(t f)), f_i = 10000^(-i / (width / 2 - shift)), or the cosines first; t [n] of `steps`, y
    rounded to `dtype`."""

    name: ClassVar[str] = "timestep_embedding"
    width: int
    cosine_first: bool = False
    shift: float = 0.0
    steps: torch.dtype = torch.float32
    dtype: torch.dtype = torch.float32

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        return ((*check_rank(shapes[0], 1, self.name), self.width),)
