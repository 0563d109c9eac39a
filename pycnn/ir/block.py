"""Convolutions behind one another as one op."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import Conv2d
from .dim import Shape
from .op import Op
from .source import TensorTable


@dataclass(frozen=True)
class Block(Op):
    """`layers`, of which the last takes the residual: a second input r of y's shape, where it has one. Planning makes
    blocks of nodes where a target has a kernel for them; captured graphs have none."""

    arity: ClassVar[tuple[int, int]] = (1, 2)

    @property
    def layers(self) -> tuple[Conv2d, ...]:
        raise NotImplementedError

    @property
    def has_residual(self) -> bool:
        return self.layers[-1].has_residual

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        found = tuple(shapes[:1])
        for layer in self.layers[:-1]:
            found = layer.infer(found, tensors)
        return self.layers[-1].infer([*found, *shapes[1:]], tensors)
