"""Converters of roots, powers, variances and norms, made of reductions and arithmetic."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..ir import Arith, Dim
from .arith import add, arithmetic, div, mul, sub
from .builder import Builder, Unsupported, Value, float_value
from .reduce import mean, reduced, reduced_axes
from .table import converts

_BOTH = (torch, torch.Tensor)


@converts("sqrt", where=_BOTH)
def sqrt(g: Builder, input: Value) -> Value:
    return _number(g, "sqrt", input, 0.0)


@converts("rsqrt", where=_BOTH)
def rsqrt(g: Builder, input: Value) -> Value:
    return _number(g, "rsqrt", input, 0.0)


@converts("square", where=_BOTH)
def square(g: Builder, input: Value) -> Value:
    x = float_value(input, "square: x")
    return g.emit(Arith("mul", rank=x.rank), x, x)


@converts("pow", "__pow__", where=_BOTH)
def power(g: Builder, input: Value, exponent: Any) -> Value:
    if isinstance(exponent, Dim) or exponent not in (2, 0.5, -0.5, -1):
        raise Unsupported(f"pow: exponent={exponent} is run by torch")
    if exponent == 2:
        return square(g, input)
    if exponent == -1:
        return _number(g, "rdiv", input, 1.0)
    return sqrt(g, input) if exponent > 0 else rsqrt(g, input)


@converts("maximum", where=_BOTH)
def maximum(g: Builder, input: Any, other: Any) -> Value:
    return arithmetic(g, "max", input, other)


@converts("addcmul", where=_BOTH)
def addcmul(g: Builder, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Value:
    product = mul(g, tensor1, tensor2)
    made = add(g, input, product if value == 1 else mul(g, product, value))
    if isinstance(input, Value) and input.shape != made.shape:
        raise Unsupported("addcmul: the product is larger than what it is added to")
    return made


@converts("var", where=_BOTH)
def var(
    g: Builder,
    input: Value,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Value:
    """Of the differences from the mean: of squares alone, large means would leave nothing."""
    x = float_value(input, "var: x")
    if isinstance(dim, bool):
        raise Unsupported("var: of everything is run by torch")
    axes = reduced_axes("var", x, dim, None)
    less = int(unbiased) if correction is None else correction
    count: int = 1
    for axis in axes:
        count = count * g.size(x, axis)
    if type(less) is not int or not g.guard(count - less, ">", 0):
        raise Unsupported(f"var: correction={less} of {count} entries is run by torch")
    apart = square(g, sub(g, x, mean(g, x, axes, keepdim=True)))
    if less == 0:
        return mean(g, apart, axes, keepdim)
    return reduced(g, apart, axes, keepdim, count - less)


@converts("std", where=_BOTH)
def std(
    g: Builder,
    input: Value,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
) -> Value:
    return sqrt(g, var(g, input, dim, unbiased, keepdim, correction=correction))


@converts("norm", where=_BOTH)
def norm(
    g: Builder,
    input: Value,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    out: None = None,
    dtype: Any = None,
) -> Value:
    x = float_value(input, "norm: x")
    if p not in (None, "fro", 2) or isinstance(p, Dim) or out is not None:
        raise Unsupported(f"norm: p={p} is run by torch")
    axes = reduced_axes("norm", x, dim, dtype)
    return sqrt(g, reduced(g, square(g, x), axes, keepdim, 1))


@converts("vector_norm", where=(torch.linalg,))
def vector_norm(
    g: Builder,
    x: Value,
    ord: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Value:
    return norm(g, x, "none" if ord is None else ord, dim, keepdim, dtype=dtype)


@converts("normalize", where=(F,))
def normalize(
    g: Builder, input: Value, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Value:
    length = _number(g, "max", norm(g, input, p, dim, True, out), float(eps))
    return div(g, input, length)


def _number(g: Builder, kind: str, input: Value, number: float) -> Value:
    x = float_value(input, f"{kind}: x")
    return g.emit(Arith(kind, number, x.rank), x)
