"""Products of two values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .op import Op
from .shape_rules import ShapeError, check_rank, check_same
from .source import Source, TensorTable


@dataclass(frozen=True)
class MatMul(Op):
    """y[p] = scale * a[p] b[p] + r[p], of every entry p; a [p, m, c], b [p, c, k], r [p, m, k].

    Inputs a, b and, where a value is added, r.  `added` is a tensor of the model instead, [.., m, k]; its leading axes
    are the innermost ones of the batch.  Each input is read through movements (`a`, `b`, `r`) from its shape to the one
    above, and the result is moved by `y`.
    """

    name: ClassVar[str] = "matmul"
    arity: ClassVar[tuple[int, int]] = (2, 3)
    scale: float = 1.0
    added: Source | None = None
    a: tuple[Op, ...] = ()
    b: tuple[Op, ...] = ()
    r: tuple[Op, ...] = ()
    y: tuple[Op, ...] = ()

    def product(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, Shape]:
        """Shapes of a and b as they are multiplied."""
        first, second = (
            check_rank(moved(moves, shape, tensors), 3, self.name)
            for moves, shape in zip((self.a, self.b), shapes, strict=False)
        )
        if first[0] != second[0] or first[2] != second[1]:
            raise ShapeError(f"matmul: {list(first)} and {list(second)} do not fit")
        return first, second

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        first, second = self.product(shapes, tensors)
        y = (*first[:2], second[2])
        if len(shapes) > 2:
            check_same(moved(self.r, shapes[2], tensors), y, "matmul: what is added")
        if self.added is not None:
            *lead, m, k = tensors.shape(self.added)
            if (m, k) != y[1:] or y[0] % math.prod(lead):
                raise ShapeError(f"matmul: {self.added} [{lead}, {m}, {k}] is added to {list(y)}")
        return (moved(self.y, y, tensors),)


def moved(moves: Sequence[Op], shape: Shape, tensors: TensorTable) -> Shape:
    """The shape after movements."""
    for move in moves:
        (shape,) = move.infer([shape], tensors)
    return shape
