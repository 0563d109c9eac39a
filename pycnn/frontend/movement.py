"""Converters of what moves or keeps elements: flatten, reshape, pad, cat, dropout in eval, copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..ir import Concat, Dim, Flatten, Identity, Pad, Reshape, Slice, expr_of
from .builder import Builder, Unsupported, Value, float_value
from .sizes import the_rest
from .table import converts


@converts("flatten", where=(torch, torch.Tensor), may_alias=True)
def flatten(g: Builder, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    x = float_value(input, "flatten: x")
    if not x.rank:
        raise Unsupported("flatten: x is a scalar")
    return g.emit(Flatten(start_dim % x.rank, end_dim % x.rank), x)


@converts("reshape", "view", where=(torch, torch.Tensor), may_alias=True)
def reshape(g: Builder, input: Value, *shape: Any) -> Value:
    x = float_value(input, "reshape: x")
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if not all(isinstance(s, int) for s in sizes):
        raise Unsupported(f"view: {sizes} are not sizes")
    if len(sizes) == 2 and x.rank > 1 and _keeps_batch(g, x, *sizes):
        return g.emit(Flatten(1, x.rank - 1), x)
    if any(type(s) is int and s == -1 for s in sizes):
        rest = the_rest(g.sizes(x), sizes)
        sizes = tuple(rest if type(s) is int and s == -1 else s for s in sizes)
    return g.emit(Reshape(sizes), x)


@converts("reshape_as", "view_as", where=(torch.Tensor,), may_alias=True)
def reshape_as(g: Builder, input: Value, other: Value) -> Value:
    return reshape(g, input, g.sizes(float_value(other, "reshape_as: other")))


def _keeps_batch(g: Builder, x: Value, first: int, second: int) -> bool:
    """Whether x viewed as [first, second] is x.flatten(1): for every shape, or under a guard."""
    n = g.size(x, 0)
    if isinstance(first, Dim) and not isinstance(second, Dim) and second == -1:
        return first.expr == expr_of(n) or g.guard(first, "==", n)
    if isinstance(second, Dim) or not (isinstance(first, Dim) or first == -1):
        return False
    features: int = 1
    for d in range(1, x.rank):
        features = features * g.size(x, d)
    return g.guard(features, "==", second)


@converts("pad", where=(F,))
def convert_pad(
    g: Builder, input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    x = float_value(input, "pad: x")
    if mode not in ("constant", "reflect", "replicate", "circular") or x.rank < 2:
        raise Unsupported(f"pad: mode={mode!r} with {x.rank} axes is run by torch")
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]  # of the last axis first
    if mode != "constant" and len(pairs) > 2:
        raise Unsupported(f"pad: mode={mode!r} of {len(pairs)} axes is run by torch")
    kept: list[tuple[int, int, int]] = []  # axis from the end, before, after
    for axis, (before, after) in enumerate(pairs, 1):
        if before < 0 or after < 0:  # cuts
            d = x.rank - axis
            x = g.emit(Slice(d, max(-before, 0), g.size(x, d) + min(after, 0)), x)
            before, after = max(before, 0), max(after, 0)
        if not all(type(p) is int and p == 0 for p in (before, after)):
            kept.append((-axis, before, after))
    kept = kept or [(-1, 0, 0)]
    number = 0.0 if value is None else float(value)
    for at in range(0, len(kept), 2):
        two = kept[at : at + 2]
        other = (-2 if two[0][0] == -1 else -1, 0, 0)
        (a, top, bottom), (b, left, right) = sorted(two if len(two) == 2 else (*two, other))
        x = g.emit(Pad((top, left, bottom, right), number, mode, (a, b)), x)
    return x


@converts("constant_pad_nd", where=(torch,))
def constant_pad_nd(g: Builder, input: Value, pad: Sequence[int], value: float = 0) -> Value:
    return convert_pad(g, input, pad, "constant", value)


@converts(
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"), where=(F,), may_alias=True
)
def dropout(
    g: Builder, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Value:
    if training and p > 0:
        raise Unsupported("dropout: training=True draws random numbers at each call")
    return g.emit(Identity(), float_value(input, "dropout: x"))


@converts("clone", "detach", "float", "cpu", "alias", where=(torch, torch.Tensor), may_alias=True)
def identity(
    g: Builder, input: Value, memory_format: torch.memory_format = torch.preserve_format
) -> Value:
    if memory_format is not torch.preserve_format:
        raise Unsupported(f"memory_format={memory_format}: the caller may see the layout")
    return g.emit(Identity(), float_value(input, "identity: x"))


@converts("contiguous", where=(torch.Tensor,), may_alias=True)
def contiguous(
    g: Builder, input: Value, memory_format: torch.memory_format = torch.contiguous_format
) -> Value:
    x = float_value(input, "contiguous: x")
    layouts = {torch.contiguous_format: "nchw", torch.channels_last: "nhwc"}
    if memory_format not in layouts:
        raise Unsupported(f"contiguous: memory_format={memory_format} is run by torch")
    return g.emit(Identity(layouts[memory_format] if x.rank == 4 else ""), x)


@converts("stack", where=(torch,))
def stack(g: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    parts = [float_value(t, f"stack: operand {i}") for i, t in enumerate(tensors)]
    d = dim % (parts[0].rank + 1)
    if not parts[0].rank or any(p.shape != parts[0].shape for p in parts):
        raise Unsupported("stack: of scalars, or of different shapes")
    lines = []
    for part in parts:
        sizes = g.sizes(part)
        lines.append(g.emit(Reshape((*sizes[:d], 1, *sizes[d:])), part))
    return g.emit(Concat(d), *lines) if len(lines) > 1 else lines[0]


@converts("to", where=(torch.Tensor,), may_alias=True)
def to(g: Builder, input: Value, *args: Any, **kwargs: Any) -> Value:
    for value in (*args, *kwargs.values()):
        same = value in (g.dtype, torch.preserve_format, None) or isinstance(value, bool)
        if not same and str(value) != "cpu":
            raise Unsupported(f"to({value}) may change the dtype, the device or the layout")
    return g.emit(Identity(), float_value(input, "to: x"))


@converts("cat", "concat", "concatenate", where=(torch,))
def cat(g: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    values = [float_value(x, "cat: an operand") for x in tensors]
    if not values or any(x.rank != values[0].rank for x in values) or not values[0].rank:
        raise Unsupported("cat: the operands have different ranks")
    return g.emit(Concat(dim % values[0].rank), *values)
