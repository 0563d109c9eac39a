"""Converters of arithmetic: tensors of one shape or broadcast, tensors of the model, numbers."""

from __future__ import annotations

from typing import Any

from ..ir import Add, Arith, Dim, Source
from .builder import Builder, Unsupported, Value, float_value
from .table import converts

_EXCHANGED = {"sub": "rsub", "div": "rdiv", "rsub": "sub", "rdiv": "div"}


@converts("add", "__add__", "__radd__", "__iadd__")
def add(g: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise Unsupported(f"add: alpha={alpha} is run by torch")
    return arithmetic(g, "add", input, other)


@converts("sub", "subtract", "__sub__", "__isub__")
def sub(g: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise Unsupported(f"sub: alpha={alpha} is run by torch")
    return arithmetic(g, "sub", input, other)


@converts("rsub", "__rsub__")
def rsub(g: Builder, input: Any, other: Any, *, alpha: float = 1) -> Value:
    if alpha != 1:
        raise Unsupported(f"rsub: alpha={alpha} is run by torch")
    return arithmetic(g, "rsub", input, other)


@converts("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def mul(g: Builder, input: Any, other: Any) -> Value:
    return arithmetic(g, "mul", input, other)


@converts("div", "divide", "true_divide", "__truediv__", "__itruediv__")
def div(g: Builder, input: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is not None:
        raise Unsupported(f"div: rounding_mode={rounding_mode!r} is run by torch")
    return arithmetic(g, "div", input, other)


@converts("__rtruediv__", "__rdiv__")
def rdiv(g: Builder, input: Any, other: Any) -> Value:
    return arithmetic(g, "rdiv", input, other)


@converts("prelu")
def prelu(g: Builder, input: Any, weight: Any) -> Value:
    x = float_value(input, "prelu: x")
    if not isinstance(weight, Source) or (x.rank < 2 and g.tensors.shape(weight) != (1,)):
        raise Unsupported("prelu: the slopes are no tensor of the model, or x has no channels")
    return arithmetic(g, "prelu", x, weight)


def arithmetic(g: Builder, kind: str, a: Any, b: Any) -> Value:
    """`a` and `b`, of which one is computed, by the kind of that name."""
    if not isinstance(a, Value):
        a, b, kind = b, a, _EXCHANGED.get(kind, kind)
    x = float_value(a, f"{kind}: the first operand")
    if isinstance(b, Value):
        y = float_value(b, f"{kind}: the second operand")
        if kind == "add" and x.shape == y.shape:
            return g.emit(Add(), x, y)
        return g.emit(Arith(kind, rank=max(x.rank, y.rank)), x, y)
    if isinstance(b, Source):
        dtype = g.tensors.meta(b).dtype
        if dtype != g.dtype:
            raise Unsupported(f"{kind}: {b} is {dtype}, the kernels take {g.dtype}")
        return g.emit(Arith(kind, b, x.rank), x)
    if isinstance(b, Dim) or type(b) not in (int, float):
        raise Unsupported(f"{kind}: an operand is a {type(b).__name__} that is no plain number")
    return g.emit(Arith(kind, float(b), x.rank), x)
