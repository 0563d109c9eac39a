"""Converters of sums, means and maxima over axes, and of softmax along one."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F

from ..ir import (
    AdaptivePool2d,
    Add,
    Flatten,
    Identity,
    Permute,
    Pool2d,
    Rearrange,
    Reshape,
    Slice,
    Softmax,
    Unflatten,
)
from .builder import Builder, Unsupported, Value, float_value
from .pieces import drop
from .table import converts

_BOTH = (torch, torch.Tensor)
_FEW = 8  # entries of an axis that are added one by one: what lies apart is read where it is


@converts("mean", where=_BOTH)
def mean(
    g: Builder, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    x = float_value(input, "mean: x")
    axes = reduced_axes("mean", x, dim, dtype)
    return _kept(g, x, axes, keepdim, _pooled(g, x, axes, "avg"))


@converts("amax", where=_BOTH)
def amax(g: Builder, input: Value, dim: Any = (), keepdim: bool = False) -> Value:
    x = float_value(input, "amax: x")
    axes = reduced_axes("amax", x, dim, None)
    return _kept(g, x, axes, keepdim, _pooled(g, x, axes, "max"))


@converts("sum", where=_BOTH)
def sum_(
    g: Builder, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    x = float_value(input, "sum: x")
    axes = reduced_axes("sum", x, dim, dtype)
    if len(axes) == 1 and x.rank > 2 and x.shape[axes[0]] <= _FEW:
        added = _kept(g, x, axes, keepdim, _added(g, x, axes[0]))
        return g.emit(Identity("nchw"), added) if added.rank == 4 else added
    return _kept(g, x, axes, keepdim, _pooled(g, x, axes, "sum"))


def reduced_axes(name: str, x: Value, dim: Any, dtype: Any) -> tuple[int, ...]:
    """The axes that are gone, in order; Unsupported where that is all of them, or the dtype is another."""
    asked = dim if isinstance(dim, (tuple, list)) else () if dim is None else (dim,)
    axes = tuple(sorted({int(d) % x.rank for d in asked})) if x.rank else ()
    if dtype is not None or not axes or len(axes) == x.rank:
        raise Unsupported(f"{name}: dim={dim}, dtype={dtype} of {x.rank} axes is run by torch")
    return axes


def reduced(g: Builder, x: Value, axes: tuple[int, ...], keepdim: bool, divisor: int) -> Value:
    """Sums over the axes, divided."""
    return _kept(g, x, axes, keepdim, _pooled(g, x, axes, "sum", divisor))


def _pool(g: Builder, x: Value, mode: Literal["avg", "max", "sum"], divisor: int) -> Value:
    """One pixel of each map."""
    if mode != "sum":
        return g.emit(AdaptivePool2d(mode, (1, 1)), x)
    window = g.size(x, 2), g.size(x, 3)
    return g.emit(Pool2d("avg", window, window, divisor_override=divisor), x)


def _pooled(
    g: Builder,
    x: Value,
    axes: tuple[int, ...],
    mode: Literal["avg", "max", "sum"],
    divisor: int = 1,
) -> Value:
    """[m, c, 1, 1], or [n, c, 1, 1] of a map: c is the axis along which memory is adjacent, where it is kept."""
    if x.rank == 4 and axes == (2, 3):
        return _pool(g, x, mode, divisor)
    adjacent = 1 if x.rank == 4 else x.rank - 1
    kept = [d for d in range(x.rank) if d not in axes and d != adjacent]
    channels = [] if adjacent in axes else [adjacent]
    sizes = g.sizes(x)
    c = sizes[adjacent] if channels else 1
    order = Permute((*kept, *channels, *axes))
    rows = Reshape((_product(sizes, kept), c, 1, _product(sizes, axes)))
    maps = g.emit(Rearrange((order, rows)), x)
    pooled = _pool(g, maps, mode, divisor)
    shape = Reshape(tuple(sizes[d] for d in (*kept, *channels)))
    back = sorted((*kept, *channels))
    if back == [*kept, *channels]:
        return g.emit(shape, pooled)
    place = [*kept, *channels]
    return g.emit(Rearrange((shape, Permute(tuple(place.index(d) for d in back)))), pooled)


def _product(sizes: list[int], axes: Any) -> int:
    found: int = 1
    for axis in axes:
        found = found * sizes[axis]
    return found


def _added(g: Builder, x: Value, axis: int) -> Value:
    entries = [
        g.emit(Rearrange((Slice(axis, at, at + 1), drop(axis, x.rank))), x)
        for at in range(g.same(x, axis))
    ]
    total = entries[0]
    for entry in entries[1:]:
        total = g.emit(Add(), total, entry)
    return total


def _kept(g: Builder, x: Value, axes: tuple[int, ...], keepdim: bool, y: Value) -> Value:
    """With the axes that are gone as ones, or without them."""
    sizes = [1 if d in axes else size for d, size in enumerate(g.sizes(x))]
    if not keepdim:
        sizes = [size for d, size in enumerate(sizes) if d not in axes]
    pooled_map = x.rank == 4 and axes == (2, 3) and y.rank == 4
    if y.rank == len(sizes):
        return y
    return g.emit(Flatten(1, 3), y) if pooled_map else g.emit(Reshape(tuple(sizes)), y)


@converts("softmax", where=(F,))
def softmax(
    g: Builder, input: Value, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Value:
    x = float_value(input, "softmax: x")
    if dim is None or dtype not in (None, g.dtype) or not x.rank:
        raise Unsupported(f"softmax: dim={dim}, dtype={dtype} is run by torch")
    axis, last = dim % x.rank, x.rank - 1
    if axis == (1 if x.rank == 4 else last) and x.rank <= 4:
        return g.emit(Softmax(axis), x)
    if x.rank == 1:
        raise Unsupported("softmax: of one axis is run by torch")
    if axis == last:
        y = g.emit(Softmax(1), g.emit(Flatten(0, last - 1), x))
        return g.emit(Unflatten(0, tuple(g.sizes(x)[:last])), y)
    order = (*(d for d in range(x.rank) if d != axis), axis)
    sizes = [g.size(x, d) for d in order]
    rows = Reshape((_product(sizes, range(last)), sizes[last]))
    y = g.emit(Softmax(1), g.emit(Rearrange((Permute(order), rows)), x))
    back = Permute(tuple(order.index(d) for d in range(x.rank)))
    return g.emit(Rearrange((Reshape(tuple(sizes)), back)), y)


@converts("softmax", where=_BOTH)
def torch_softmax(g: Builder, input: Value, dim: int, dtype: Any = None) -> Value:
    return softmax(g, input, dim, dtype=dtype)
