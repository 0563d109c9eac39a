"""Where a size comes from, through what moves elements or keeps shapes.

A size of a permuted or reshaped value is a size of what came before, or a number; said so, nothing names the value
between, and passes may remove it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from ..ir import (
    AdaptivePool2d,
    Add,
    Apply,
    Arith,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dim,
    Elementwise,
    Expand,
    Expr,
    Flatten,
    GroupNorm,
    Identity,
    LayerNorm,
    Linear,
    MatMul,
    Node,
    Op,
    Permute,
    Pool2d,
    Rearrange,
    Reshape,
    Size,
    Slice,
    Softmax,
    Unflatten,
    Unfold,
    Upsample,
    expr_of,
    value_of,
)

_SAME = (Add, BatchNorm, Elementwise, GroupNorm, Identity, LayerNorm, Linear, Softmax)
_BY_IMAGE = (AdaptivePool2d, Conv2d, ConvTranspose2d, Pool2d, Upsample)  # as many as the input


@dataclass(frozen=True)
class _Known:
    size: Expr


def size_of(value: int, axis: int, rank: int, makers: Mapping[int, Node]) -> Expr:
    """Size `axis` (not negative) of a value of `rank` axes as the earliest value, or a number, tells it."""
    while True:
        node = makers.get(value)
        if node is None:
            return Size(value, axis)
        if isinstance(node.op, MatMul):  # [p, m, c] and [p, c, k], as converters make it
            value = node.inputs[axis == 2]
            continue
        if isinstance(node.op, Flatten) and node.op.start == axis < node.op.end:
            merged, before = range(node.op.start, node.op.end + 1), _rank_before(node.op, rank)
            return reduce(_times, (size_of(node.inputs[0], d, before, makers) for d in merged))
        if isinstance(node.op, Linear) and axis == rank - 1:
            return Size(value, axis)
        moves = node.op.moves if isinstance(node.op, Rearrange) else (node.op,)
        found: int | _Known | None = axis
        for move in reversed(moves):
            if isinstance(found, int):
                found, rank = _before(move, found, rank), _rank_before(move, rank)
        if isinstance(found, _Known):
            return found.size
        if found is None:
            return Size(value, axis)
        value, axis = node.inputs[0], found


def _rank_before(op: Op, rank: int) -> int:
    """The input's number of axes; of a reshape, which tells all sizes itself, any."""
    if isinstance(op, Flatten):
        return rank + op.end - op.start
    if isinstance(op, Unfold):
        return rank - 1
    return rank + 1 - len(op.sizes) if isinstance(op, Unflatten) else rank


def _times(left: Expr, right: Expr) -> Expr:
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    return right if left == 1 else left if right == 1 else Apply("*", left, right)


def the_rest(own: Sequence[int], sizes: Sequence[int]) -> int:
    """What -1 among `sizes` stands for in a reshape of a value with its `own`; -1 where that cannot be told.

    Factors that both have cancel: [n, l, c] seen as [n, l, heads, -1] has c // heads channels a head.
    """
    known = [size for size in sizes if type(size) is not int or size != -1]
    above, below = _factors(own), _factors(known)
    for factor in below[1]:
        if factor not in above[1]:
            return -1
        above[1].remove(factor)
    total, divisor = (math.prod(map(value_of, of)) for of in (own, known))
    if len(known) != len(sizes) - 1 or not divisor or total % divisor:
        return -1
    whole = above[0] % below[0] == 0
    expr: Expr = above[0] // below[0] if whole else above[0]
    for factor in above[1]:
        expr = _times(expr, factor)
    expr = expr if whole else Apply("//", expr, below[0])
    return expr if isinstance(expr, int) else Dim(total // divisor, expr)


def _factors(sizes: Sequence[int]) -> tuple[int, list[Expr]]:
    """The product of the numbers among the factors of the sizes, and the other factors."""
    number, others, rest = 1, list[Expr](), [expr_of(size) for size in sizes]
    while rest:
        expr = rest.pop(0)
        if isinstance(expr, int):
            number *= expr
        elif isinstance(expr, Apply) and expr.function == "*":
            rest += [expr.left, expr.right]
        else:
            others.append(expr)
    return number, others


def _before(op: Op, axis: int, rank: int) -> int | _Known | None:
    """The axis of the input whose size that of the output's `axis`, of `rank`, is, or the size; None: neither."""
    if isinstance(op, _SAME) or (isinstance(op, Arith) and op.other is not None):
        return axis
    if isinstance(op, _BY_IMAGE):
        return axis if axis == 0 else None
    if isinstance(op, Permute):
        return op.dims[axis]
    if isinstance(op, (Expand, Reshape)):
        return _entry(op.shape[axis])
    if isinstance(op, Slice):
        if axis == op.dim:
            return None if op.step > 1 else _Known(expr_of(op.stop - op.start))
        return axis
    if isinstance(op, Unfold):
        return _Known(op.size) if axis == rank - 1 else None if axis == op.dim else axis
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
