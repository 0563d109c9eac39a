"""The base of the IR's operations: frozen dataclasses whose fields are the operation's arguments.

Maps are NCHW as in torch; layout is the planner's business.  `infer` gives output shapes from input shapes and raises
ShapeError where torch would raise.  Fields may hold Dims; `resolve` (shapes.py) turns them into ints first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from .dim import Shape
from .source import TensorTable

Int2 = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right
Mode = Literal["max", "avg"]


@dataclass(frozen=True)
class Act:
    """An activation: a kind of `pycnn.ops.act.ACTS` and its parameter (leaky_relu's slope, elu's alpha)."""

    kind: str = "none"
    param: float = 0.01

    def __bool__(self) -> bool:
        return self.kind != "none"

    def __str__(self) -> str:
        return f"{self.kind}({self.param:g})" if self.kind in ("leaky_relu", "elu") else self.kind


class Op:
    """Base of all operations.  `name` is what `Graph.count` and `Graph.has` call it."""

    name: ClassVar[str]
    arity: ClassVar[tuple[int, int]] = (1, 1)  # fewest and most inputs

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        """Output shapes for input shapes."""
        return (shapes[0],)


@dataclass(frozen=True)
class Ref:
    """Placeholder in a Torch op's arguments: input `index` of the node."""

    index: int


@dataclass(frozen=True)
class Torch(Op):
    """Anything else: `func(*args, **kwargs)` run by torch; Refs, Sources and Dims in the arguments are replaced.

    outputs: the tensors in the result, flattened, less those that are an argument written in place; then one value for
    each input in `mutates` (those are cloned before the call, so that the node is a function).  `effect`: the node does
    something besides its outputs (draws random numbers, writes a buffer) and must be kept, in order.  `view`: an
    output shares memory with an input as in eager, because the caller can see it.
    """

    name: ClassVar[str] = "torch"
    arity: ClassVar[tuple[int, int]] = (0, 1 << 30)
    func: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    reason: str = field(default="", compare=False)
    mutates: tuple[int, ...] = ()
    effect: bool = False
    view: bool = False
