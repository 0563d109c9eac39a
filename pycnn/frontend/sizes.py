"""Where a size comes from, through what moves elements or keeps shapes.

A size of a permuted or reshaped value is a size of what came before, or a number; said so, nothing names the value
between, and passes may remove it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir import (
    Add,
    Elementwise,
    Expand,
    Expr,
    Flatten,
    GroupNorm,
    Identity,
    LayerNorm,
    Node,
    Op,
    Permute,
    Rearrange,
    Reshape,
    Size,
    Slice,
    Unflatten,
    expr_of,
)

_SAME = (Add, Elementwise, GroupNorm, Identity, LayerNorm)


@dataclass(frozen=True)
class _Known:
    size: Expr


def size_of(value: int, axis: int, makers: Mapping[int, Node]) -> Expr:
    """Size `axis` (not negative) of a value as the earliest value, or a number, tells it."""
    while True:
        node = makers.get(value)
        if node is None:
            return Size(value, axis)
        moves = node.op.moves if isinstance(node.op, Rearrange) else (node.op,)
        found: int | _Known | None = axis
        for move in reversed(moves):
            if isinstance(found, int):
                found = _before(move, found)
        if isinstance(found, _Known):
            return found.size
        if found is None:
            return Size(value, axis)
        value, axis = node.inputs[0], found


def _before(op: Op, axis: int) -> int | _Known | None:
    """The axis of the input whose size that of the output's `axis` is, or the size; None: neither."""
    if isinstance(op, _SAME):
        return axis
    if isinstance(op, Permute):
        return op.dims[axis]
    if isinstance(op, (Expand, Reshape)):
        return _entry(op.shape[axis])
    if isinstance(op, Slice):
        if axis == op.dim:
            return None if op.step > 1 else _Known(expr_of(op.stop - op.start))
        return axis
    if isinstance(op, Flatten):
        merged = op.end - op.start
        return axis if axis < op.start else axis + merged if axis > op.start or not merged else None
    if isinstance(op, Unflatten):
        more = len(op.sizes) - 1
        inside = op.dim <= axis <= op.dim + more
        return _entry(op.sizes[axis - op.dim]) if inside else axis - more if axis > op.dim else axis
    return None


def _entry(size: int) -> _Known | None:
    expr = expr_of(size)
    return None if isinstance(expr, int) and expr == -1 else _Known(expr)
