"""Operations on every element by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .op import Act, Op
from .shape_rules import ShapeError, check_broadcast, check_same
from .source import Source, TensorTable


@dataclass(frozen=True)
class Elementwise(Op):
    """An activation that nothing took along."""

    name: ClassVar[str] = "elementwise"
    act: Act


@dataclass(frozen=True)
class Add(Op):
    """y = act(a + b) of two values of one shape."""

    name: ClassVar[str] = "add"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    act: Act = Act()

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        check_same(shapes[1], shapes[0], "add: the second operand")
        return (shapes[0],)


@dataclass(frozen=True)
class Arith(Op):
    """y = act(a o b), broadcast as in torch; o is the `kind` of `pycnn.ops.arith.KINDS`.

    Two inputs a and b, or one and `other`: a tensor of the model with at most the input's `rank` axes, or a number.
    """

    name: ClassVar[str] = "arith"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    kind: str
    other: Source | float | None = None
    rank: int = 4
    act: Act = Act()

    def other_shape(self, tensors: TensorTable) -> Shape:
        """The shape in which `other`, a tensor of the model, broadcasts: slopes of prelu belong to axis 1."""
        assert isinstance(self.other, Source)
        shape = tensors.shape(self.other)
        each = self.kind == "prelu" and shape != (1,)
        return (*shape, *(1,) * (self.rank - 2)) if each else shape

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        if len(shapes) == 2:
            return (check_broadcast(shapes[0], shapes[1], self.name),)
        if isinstance(self.other, Source):
            other = self.other_shape(tensors)
            out = check_broadcast(shapes[0], other, self.name)
            if out != tuple(shapes[0]):
                raise ShapeError(f"arith: {self.other} has shape {list(other)}, x {list(out)}")
        return (tuple(shapes[0]),)
