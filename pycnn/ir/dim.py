"""Sizes that remember where they came from.

A `Dim` is an `int` that carries an expression whose leaves are "size d of value v".  Model code computes with it as
with any int; when the graph is used for another input shape the expression is evaluated again.  Decisions the model's
code takes on sizes (comparisons, truth values, conversions) are recorded as `Guard`s: a graph holds for the shapes
for which every guard has the outcome it had at capture.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

Shape = tuple[int, ...]
Shapes = Mapping[int, Shape]


@dataclass(frozen=True)
class Size:
    """Leaf: size `axis` of value `value`."""

    value: int
    axis: int

    def __str__(self) -> str:
        return f"size(%{self.value}, {self.axis})"


@dataclass(frozen=True)
class Apply:
    """Inner node: `function(left, right)`, function one of `_BINARY`."""

    function: str
    left: Expr
    right: Expr

    def __str__(self) -> str:
        return f"({self.left} {self.function} {self.right})"


Expr = Size | Apply | int

_BINARY: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(expr: Expr, shapes: Shapes) -> int:
    """Value of `expr` when value v has shape `shapes[v]`; KeyError if a leaf's value has no shape yet."""
    if isinstance(expr, Size):
        return shapes[expr.value][expr.axis]
    if isinstance(expr, Apply):
        return _BINARY[expr.function](evaluate(expr.left, shapes), evaluate(expr.right, shapes))
    return int(expr)


def leaves(expr: Expr) -> Iterator[Size]:
    """Every `Size` leaf of `expr`, left to right."""
    if isinstance(expr, Size):
        yield expr
    elif isinstance(expr, Apply):
        yield from leaves(expr.left)
        yield from leaves(expr.right)


@dataclass(frozen=True)
class Guard:
    """The graph holds only where `left op right` is `outcome`."""

    left: Expr
    op: str
    right: Expr
    outcome: bool

    def holds(self, shapes: Shapes) -> bool:
        left, right = evaluate(self.left, shapes), evaluate(self.right, shapes)
        return _COMPARE[self.op](left, right) == self.outcome

    def __str__(self) -> str:
        text = f"{self.left} {self.op} {self.right}"
        return text if self.outcome else f"not {text}"


class _Recorder(threading.local):
    guards: dict[Guard, None] | None = None


_recorder = _Recorder()


@contextmanager
def recording_guards() -> Iterator[dict[Guard, None]]:
    """Collect, in order and once each, the guards this thread's Dims meet inside the block."""
    outer, found = _recorder.guards, dict[Guard, None]()
    _recorder.guards = found
    try:
        yield found
    finally:
        _recorder.guards = outer


def add_guard(left: Expr, op: str, right: Expr) -> bool:
    """Compare two sizes and record the outcome; sizes that are plain constants need no guard."""
    outcome = _COMPARE[op](value_of(left), value_of(right))
    left, right = expr_of(left), expr_of(right)
    if _recorder.guards is not None and not (isinstance(left, int) and isinstance(right, int)):
        _recorder.guards[Guard(left, op, right, outcome)] = None
    return outcome


class Dim(int):
    """An int with the expression it came from.  `Dim(4, Size(0, 2))` is 4 and means "size 2 of value 0"."""

    expr: Size | Apply

    def __new__(cls, value: int, expr: Size | Apply) -> Dim:
        self = super().__new__(cls, value)
        self.expr = expr
        return self

    def __add__(self, other: int) -> int:
        return _apply("+", self, other)

    def __radd__(self, other: int) -> int:
        return _apply("+", other, self)

    def __sub__(self, other: int) -> int:
        return _apply("-", self, other)

    def __rsub__(self, other: int) -> int:
        return _apply("-", other, self)

    def __mul__(self, other: int) -> int:
        return _apply("*", self, other)

    def __rmul__(self, other: int) -> int:
        return _apply("*", other, self)

    def __floordiv__(self, other: int) -> int:
        return _apply("//", self, other)

    def __rfloordiv__(self, other: int) -> int:
        return _apply("//", other, self)

    def __mod__(self, other: int) -> int:
        return _apply("%", self, other)

    def __rmod__(self, other: int) -> int:
        return _apply("%", other, self)

    def __neg__(self) -> int:
        return _apply("-", 0, self)

    def __pos__(self) -> int:
        return self

    def __eq__(self, other: object) -> bool:
        return add_guard(self, "==", other) if isinstance(other, int) else value_of(self) == other

    def __ne__(self, other: object) -> bool:
        return add_guard(self, "!=", other) if isinstance(other, int) else value_of(self) != other

    def __lt__(self, other: int) -> bool:
        return _compare(self, "<", other)

    def __le__(self, other: int) -> bool:
        return _compare(self, "<=", other)

    def __gt__(self, other: int) -> bool:
        return _compare(self, ">", other)

    def __ge__(self, other: int) -> bool:
        return _compare(self, ">=", other)

    def __hash__(self) -> int:
        return hash(value_of(self))

    def __bool__(self) -> bool:
        return add_guard(self, "!=", 0)

    def __int__(self) -> int:
        return self.pin()

    def __float__(self) -> float:
        return float(self.pin())

    def __truediv__(self, other: float) -> float:
        return self.pin() / other

    def __rtruediv__(self, other: float) -> float:
        return other / self.pin()

    def __pow__(self, other: int, mod: int | None = None) -> int:  # type: ignore[override]
        return pow(self.pin(), other, mod)

    def __reduce__(self) -> tuple[type[Dim], tuple[int, Expr]]:
        return Dim, (value_of(self), self.expr)

    def pin(self) -> int:
        """The plain int, with a guard that it stays what it is."""
        add_guard(self, "==", value_of(self))
        return value_of(self)


def value_of(size: Expr) -> int:
    """The plain int inside `size`, without a guard."""
    return int.__index__(size)  # type: ignore[arg-type]


def expr_of(size: Expr) -> Expr:
    """The expression of a Dim; a plain int is its own expression."""
    return size.expr if isinstance(size, Dim) else size


def _compare(left: Dim, op: str, right: float) -> bool:
    if isinstance(right, int):
        return add_guard(left, op, right)
    return bool(getattr(operator, _OPERATOR[op])(left.pin(), right))


_OPERATOR = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def _apply(function: str, left: int, right: int) -> int:
    if not (isinstance(left, int) and isinstance(right, int)):
        return NotImplemented
    value = _BINARY[function](value_of(left), value_of(right))
    return Dim(value, Apply(function, expr_of(left), expr_of(right)))
