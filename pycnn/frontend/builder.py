"""What a converter works with: values of the graph under construction and the nodes it adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..ir import Dim, Expr, Node, Op, Shape, ShapeError, Source, TensorTable, add_guard, resolve
from .sizes import size_of


class Unsupported(Exception):
    """No native op computes this call; the sentence says why, and torch runs it.

    `writes`: the call updates tensors of the model (batch norm in training), so it must stay, in order.
    """

    def __init__(self, sentence: str, writes: bool = False) -> None:
        super().__init__(sentence)
        self.writes = writes


@dataclass(frozen=True)
class Value:
    """A tensor operand that the graph computes: its id, its shape at capture, its dtype, the dtype kernels take."""

    id: int
    shape: Shape
    dtype: torch.dtype
    kernels: torch.dtype

    @property
    def rank(self) -> int:
        return len(self.shape)


class Builder:
    """Collects the nodes that one call of a torch function becomes.

    A converter sets `inplace` if the call's arguments ask for the result in place of the first operand.
    """

    def __init__(
        self,
        tensors: TensorTable,
        new_id: Callable[[], int],
        path: str,
        makers: Mapping[int, Node],
        dtype: torch.dtype,
    ) -> None:
        self.tensors = tensors
        self.dtype = dtype  # that kernels take
        self._makers = makers  # value -> the node committed so far that makes it
        self.nodes: list[Node] = []
        self.inplace = False
        self._new_id = new_id
        self._path = path

    def emit(self, op: Op, *inputs: Value) -> Value:
        """Add a node with one output of the kernels' dtype and return that."""
        try:
            (shape,) = resolve(op, None).infer([x.shape for x in inputs], self.tensors)
        except ShapeError as error:
            raise Unsupported(str(error)) from error
        out = Value(self._new_id(), shape, self.dtype, self.dtype)
        self.nodes.append(Node(op, tuple(x.id for x in inputs), (out.id,), self._path))
        return out

    def size(self, x: Value, axis: int) -> int:
        """A size as a Dim; a plain int where it is the same for every input."""
        expr = size_of(x.id, axis, x.rank, self._makers)
        return expr if isinstance(expr, int) else Dim(x.shape[axis], expr)

    def sizes(self, x: Value) -> list[int]:
        """All sizes of x."""
        return [self.size(x, axis) for axis in range(x.rank)]

    def same(self, x: Value, axis: int) -> int:
        """The size as a number, for every input that has it."""
        self.guard(self.size(x, axis), "==", x.shape[axis])
        return x.shape[axis]

    def guard(self, left: Expr, op: str, right: Expr) -> bool:
        """Compare two sizes; the graph then holds only where the outcome is the same."""
        return add_guard(left, op, right)


def float_value(operand: object, what: str) -> Value:
    """`operand` as a value of the graph in the dtype that kernels take, or Unsupported."""
    if not isinstance(operand, Value):
        kind = "a tensor of the model" if isinstance(operand, Source) else type(operand).__name__
        raise Unsupported(f"{what} is {kind}, not a computed tensor")
    if operand.dtype != operand.kernels:
        raise Unsupported(f"{what} is {operand.dtype}, the kernels take {operand.kernels}")
    return operand


def map_value(operand: object, what: str) -> Value:
    """`operand` as a batch of maps [n, c, h, w], or Unsupported."""
    value = float_value(operand, what)
    if value.rank != 4:
        raise Unsupported(f"{what} has {value.rank} axes, the kernels take [n, c, h, w]")
    return value


def float_source(
    g: Builder, operand: object, what: str, axes: int = 1, size: int | None = None
) -> None:
    """Unsupported unless `operand` is None or a tensor of the model that kernels take, of so many axes of this size."""
    if operand is None:
        return
    if not isinstance(operand, Source):
        raise Unsupported(f"{what} is computed, not a tensor of the model")
    tensor = g.tensors.meta(operand)
    if tensor.dtype != g.dtype:
        raise Unsupported(f"{what} is {tensor.dtype}, the kernels take {g.dtype}")
    if tensor.dim() != axes or (size is not None and tensor.shape[0] != size):
        raise Unsupported(f"{what} has shape {list(tensor.shape)}, expected size {size}")


def pair(value: Any) -> tuple[int, int]:
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) not in (1, 2) or not all(isinstance(i, int) for i in items):
        raise Unsupported(f"{value!r} is not one or two ints")
    return (items[0], items[-1])
