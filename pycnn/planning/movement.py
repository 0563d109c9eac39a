"""Movements of elements as one strided copy: y[sum_a i_a * y_a] = x[sum_a i_a * x_a], strides in floats.

A value's axes are split into pieces, each with a size and a stride in the source. A permutation exchanges axes; a
change of shape splits and joins the pieces anew, in row-major order; a slice shortens one and moves the beginning;
windows make two of one, which may overlap; a repetition has stride 0. At the end each piece has a stride in the result
too, and neighbours that lie alike on both sides become one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pycnn.ir import Expand, Op, Permute, Rearrange, Shape, Slice, TensorTable, Unfold

MAX_AXES = 8  # of the kernel

Piece = tuple[int, int]  # size, stride in the source
Axis = tuple[int, int, int]  # size, stride in the source, stride in the result


def strides(shape: Shape, ld: int, nchw: bool = False) -> tuple[int, ...]:
    """Of a value's axes, its rows `ld` apart; `nchw`: contiguous in torch's order."""
    if len(shape) == 4 and not nchw:
        _, _, h, w = shape
        return h * w * ld, 1, w * ld, ld
    found = [1, shape[-1] if nchw else ld][: len(shape)]
    while len(found) < len(shape):
        found.append(found[-1] * shape[-len(found)])
    return tuple(reversed(found))


@dataclass(frozen=True)
class View:
    """A value as pieces of a source, one tuple for each of its axes, that begins `offset` floats into it."""

    axes: tuple[tuple[Piece, ...], ...]
    offset: int = 0

    @staticmethod
    def of(shape: Shape, ld: int, nchw: bool = False) -> View:
        return View(tuple((p,) for p in zip(shape, strides(shape, ld, nchw), strict=True)))

    @staticmethod
    def dense(shape: Shape) -> View:
        """Row-major without gaps."""
        whole = View((((math.prod(shape), 1),),)).reshaped(shape)
        assert whole is not None
        return whole

    @property
    def shape(self) -> Shape:
        return tuple(math.prod(size for size, _ in axis) for axis in self.axes)

    def after(self, move: Op, tensors: TensorTable) -> View | None:
        """After a movement; None where no strides tell it."""
        if isinstance(move, Permute):
            return View(tuple(self.axes[d] for d in move.dims), self.offset)
        if isinstance(move, Slice):
            return self.sliced(move)
        if isinstance(move, Expand):
            pairs = zip(self.axes, self.shape, move.shape, strict=True)
            axes = tuple(axis if size == to else ((to, 0),) for axis, size, to in pairs)
            return View(axes, self.offset)
        if isinstance(move, Unfold):
            return self.unfolded(move)
        (shape,) = move.infer([self.shape], tensors)
        return self.reshaped(shape)

    def sliced(self, move: Slice) -> View | None:
        axis = tuple(piece for piece in self.axes[move.dim] if piece[0] != 1)
        inner = math.prod(size for size, _ in axis[1:])
        whole = (0, axis[0][0] * inner, 1) if axis else (0, 1, 1)
        if (move.start, move.stop, move.step) == whole or not axis:
            return self
        if move.start % inner or move.stop % inner or (inner > 1 and move.step > 1):
            return None
        size = -(-(move.stop - move.start) // (inner * move.step))
        stride = axis[0][1] * move.step
        axes = (*self.axes[: move.dim], ((size, stride), *axis[1:]), *self.axes[move.dim + 1 :])
        return View(axes, self.offset + move.start // inner * axis[0][1])

    def unfolded(self, move: Unfold) -> View | None:
        axis = [piece for piece in self.axes[move.dim] if piece[0] != 1] or [(1, 0)]
        if len(axis) > 1:
            return None
        (whole, stride), reach = axis[0], (move.size - 1) * move.dilation + 1
        count = (whole - reach) // move.step + 1
        axes = list(self.axes)
        axes[move.dim] = ((count, stride * move.step),)
        return View((*axes, ((move.size, stride * move.dilation),)), self.offset)

    def reshaped(self, shape: Shape) -> View | None:
        rest = [piece for axis in self.axes for piece in axis if piece[0] != 1]
        axes: list[tuple[Piece, ...]] = []
        for wanted in reversed(shape):
            axis: list[Piece] = []
            while wanted > 1:
                size, stride = rest.pop()
                inner = min(size, wanted)
                if size % inner or wanted % inner:
                    return None
                if size > inner:
                    rest.append((size // inner, stride * inner))
                axis.append((inner, stride))
                wanted //= inner
            axes.append(tuple(reversed(axis)))
        return View(tuple(reversed(axes)), self.offset)

    def onto(self, target: Sequence[int]) -> list[Axis]:
        """The copy to where axis d lies `target[d]` apart: fewest axes, outermost of the result first."""
        found: list[Axis] = []
        for axis, stride in zip(self.axes, target, strict=True):
            for size, source in reversed(axis):
                if size > 1:
                    found.append((size, source, stride))
                stride *= size
        merged: list[Axis] = []
        for size, x, y in sorted(found, key=lambda a: a[2]):
            if merged and (x, y) == (merged[-1][0] * merged[-1][1], merged[-1][0] * merged[-1][2]):
                merged[-1] = (merged[-1][0] * size, *merged[-1][1:])
            else:
                merged.append((size, x, y))
        return merged[::-1]


def dense_after(move: Op, shape: Shape, tensors: TensorTable) -> View:
    """A row-major value without gaps after a movement."""
    view = View.dense(shape).after(move, tensors)
    return View.dense(move.infer([shape], tensors)[0]) if view is None else view


def moves_of(op: Op) -> tuple[Op, ...]:
    """The single movements of a node's op."""
    return op.moves if isinstance(op, Rearrange) else (op,)


_APART = (
    1 << 40
)  # of rows: more than any row is wide, so that no other sum of strides is a multiple of it


def rows_within(op: Op, shape: Shape, out: Shape, tensors: TensorTable) -> tuple[int, int] | None:
    """(first row, first column) of the part of the source's rows, in order, that the result's rows are; None: none."""
    view: View | None = View.of(shape, _APART)
    for move in moves_of(op):
        view = None if view is None else view.after(move, tensors)
    if view is None or any(x != y for _, x, y in view.onto(strides(out, _APART))):
        return None
    return divmod(view.offset, _APART)


def most_axes(op: Op, shape: Shape, tensors: TensorTable) -> int:
    """Axes of the copy at most, however the rows of source and result lie."""
    view = View.of(shape, 1)
    most = 0
    for move in moves_of(op):
        view = view.after(move, tensors) or dense_after(move, view.shape, tensors)
        most = max(most, sum(size > 1 for axis in view.axes for size, _ in axis))
    return most


def rearrange(axes: Sequence[Axis]) -> dict[str, float]:
    """The kernel's: y adjacent along axis 7, x along axis 6 where that is another."""
    *outer, last = axes or [(1, 0, 0)]
    if not outer:
        parts = next(p for p in (64, 32, 16, 8, 4, 2, 1) if last[0] % p == 0)
        size = last[0] // parts  # a share for each of many workers
        outer, last = [(parts, size * last[1], size * last[2])], (size, *last[1:])
    second = len(outer) - 1
    if last[1] != 1:
        second = next((i for i, axis in enumerate(outer) if axis[1] == 1), second)
    ordered = [*outer[:second], *outer[second + 1 :], outer[second], last]
    ordered = [(1, 0, 0)] * (MAX_AXES - len(ordered)) + ordered
    return {f"{name}{i}": axis[j] for i, axis in enumerate(ordered) for j, name in enumerate("sxy")}
