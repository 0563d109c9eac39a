"""Operands of products as strides: [p, m, c] read, and [p, m, k] written, where their elements lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycnn.ir import Op, Shape, TensorTable
from pycnn.planning.movement import Piece, View

AXES = 4  # of the batch, in the kernel


@dataclass(frozen=True)
class Lie:
    """How an operand lies: pieces of the batch (size, stride), strides of rows and columns, its first element."""

    batch: tuple[Piece, ...]
    row: int
    column: int
    offset: int = 0


def dense(shape: Shape) -> Lie:
    """Row-major without gaps."""
    p, m, c = shape
    return Lie(((p, m * c),), c, 1)


def read(view: View) -> Lie | None:
    """Of an operand [p, m, c] read through a view; None: rows or columns are not at one distance."""
    batch, *rest = (_merged(axis) for axis in view.axes)
    if any(len(axis) > 1 for axis in rest):
        return None
    row, column = (axis[0][1] if axis else 1 for axis in rest)
    return Lie(tuple(batch), row, column, view.offset)


def written(
    shape: Shape, moves: Sequence[Op], target: Sequence[int], tensors: TensorTable
) -> Lie | None:
    """Of a result [p, m, k] that moves to where axis d lies `target[d]` apart; None: no strides tell it, or neither its
    rows nor its columns are adjacent."""
    view: View | None = View.dense(shape)
    for move in moves:
        view = None if view is None else view.after(move, tensors)
    if view is None:
        return None
    found: list[tuple[int, int, int]] = []
    for axis, stride in zip(view.axes, target, strict=True):
        for size, source in reversed(axis):
            if size > 1:
                found.append((source, size, stride))
            stride *= size
    rest = [(size, stride) for _, size, stride in sorted(found)]  # innermost first
    axes: list[list[Piece]] = []
    for size in reversed(shape):
        own: list[Piece] = []
        while size > 1 and rest:
            own.insert(0, rest.pop(0))
            size //= own[0][0]
        if size > 1:
            return None
        axes.insert(0, _merged(own))
    lie = Lie(tuple(axes[0]), 1, 1) if not any(len(axis) > 1 for axis in axes[1:]) else None
    if lie is None or rest:
        return None
    row, column = (axis[0][1] if axis else 1 for axis in axes[1:])
    return Lie(lie.batch, row, column) if 1 in (row, column) else None


def _merged(axis: Sequence[Piece]) -> list[Piece]:
    """Neighbours as one where one stride walks through both."""
    made: list[Piece] = []
    for size, stride in axis:
        if size == 1:
            continue
        if made and made[-1][1] == size * stride:
            made[-1] = (made[-1][0] * size, stride)
        else:
            made.append((size, stride))
    return made


def common(batches: Sequence[Sequence[Piece]]) -> list[tuple[int, ...]] | None:
    """Axes (size, stride in each operand) that all operands' batches split into, outermost first, at most `AXES`."""
    rest = [[piece for piece in batch if piece[0] != 1] for batch in batches]
    found: list[tuple[int, ...]] = []
    while any(rest):
        if not all(rest):
            return None
        size = min(batch[-1][0] for batch in rest)
        strides = []
        for batch in rest:
            whole, stride = batch.pop()
            if whole % size:
                return None
            if whole > size:
                batch.append((whole // size, stride * size))
            strides.append(stride)
        if found and all(
            s == found[-1][0] * f for s, f in zip(strides, found[-1][1:], strict=True)
        ):
            found[-1] = (found[-1][0] * size, *found[-1][1:])
        else:
            found.append((size, *strides))
    return found[::-1] if len(found) <= AXES else None
