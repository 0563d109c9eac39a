"""Norms whose statistics are those of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .ops import Op
from .shape_rules import ShapeError
from .source import Source, TensorTable


@dataclass(frozen=True)
class LayerNorm(Op):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over `axis`: the last of x [..., c], or 1 of [n, c, h, w]."""

    name: ClassVar[str] = "layer_norm"
    c: int
    weight: Source | None = None
    bias: Source | None = None
    eps: float = 1e-5
    axis: int = -1

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        if not shapes[0] or shapes[0][self.axis] != self.c:
            raise ShapeError(f"layer_norm: x has shape {list(shapes[0])}, c={self.c} is normalised")
        return (shapes[0],)
