"""Norms whose statistics are those of the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .op import Act, Op
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


@dataclass(frozen=True)
class GroupNorm(Op):
    """y = act((x - mean) / sqrt(var + eps) * weight + bias), by groups of neighbouring channels; x [n, c, ...]."""

    name: ClassVar[str] = "group_norm"
    groups: int
    weight: Source | None = None
    bias: Source | None = None
    eps: float = 1e-5
    act: Act = Act()

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x = shapes[0]
        if len(x) < 2 or x[1] % self.groups:
            raise ShapeError(f"group_norm: groups={self.groups} does not divide c of {list(x)}")
        c = {x[1], *(tensors.shape(s)[0] for s in (self.weight, self.bias) if s is not None)}
        if len(c) > 1:
            raise ShapeError(f"group_norm: x has shape {list(x)}, weight or bias another c")
        return (x,)


@dataclass(frozen=True)
class LocalResponseNorm(Op):
    """y = x / (k + alpha / size * sum of x^2 over `size` channels)^beta; x [n, c, h, w]."""

    name: ClassVar[str] = "local_response_norm"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
