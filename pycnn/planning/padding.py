"""Padding as strided copies: of the interior, and of what each border repeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pycnn.ir import Pad, Shape
from pycnn.planning.movement import Axis


@dataclass(frozen=True)
class Part:
    """Entries of one axis of the result from `to` on, `size` of them, read from `at` on in steps of `step`."""

    to: int
    size: int
    at: int
    step: int


def parts(before: int, size: int, after: int, mode: str) -> list[Part]:
    """One axis of `size` entries with that many before and after it, in order."""
    end = before + size
    inner = Part(before, size, 0, 1)
    borders = {
        "constant": (),
        "reflect": (Part(0, before, before, -1), Part(end, after, size - 2, -1)),
        "replicate": (Part(0, before, 0, 0), Part(end, after, size - 1, 0)),
        "circular": (Part(0, before, size - before, 1), Part(end, after, 0, 1)),
    }[mode]
    return [part for part in (*borders[:1], inner, *borders[1:]) if part.size]


def _others(op: Pad, shape: Shape, source: Sequence[int], target: Sequence[int]) -> list[Axis]:
    """Of the axes that are not padded."""
    padded = {axis % len(shape) for axis in op.axes}
    axes = zip(shape, source, target, strict=True)
    return [axis for d, axis in enumerate(axes) if d not in padded]


@dataclass(frozen=True)
class Copy:
    """Axes of one copy, and where source and result begin."""

    axes: list[Axis]
    x: int
    y: int


def copies(op: Pad, shape: Shape, source: Sequence[int], target: Sequence[int]) -> Iterator[Copy]:
    """What fills the result of a value with that shape; strides of `source` and `target` by axis."""
    top, left, bottom, right = op.pads
    (xh, yh, h), (xw, yw, w) = ((source[axis], target[axis], shape[axis]) for axis in op.axes)
    outer = _others(op, shape, source, target)
    for row in parts(top, h, bottom, op.mode):
        for column in parts(left, w, right, op.mode):
            inner = [
                (row.size, row.step * xh, yh),
                (column.size, column.step * xw, yw),
            ]
            axes = sorted((axis for axis in (*outer, *inner) if axis[0] > 1), key=lambda a: -a[2])
            yield Copy(axes, row.at * xh + column.at * xw, row.to * yh + column.to * yw)


def borders(op: Pad, shape: Shape, target: Sequence[int]) -> Iterator[Copy]:
    """The four strips around the interior, filled from one value."""
    top, left, bottom, right = op.pads
    (h, yh), (w, yw) = ((shape[axis], target[axis]) for axis in op.axes)
    outer = _others(op, shape, [0] * len(shape), target)
    strips = (
        (0, top, 0, left + w + right),
        (top + h, bottom, 0, left + w + right),
        (top, h, 0, left),
        (top, h, left + w, right),
    )
    for row, rows, column, columns in strips:
        if not rows * columns:
            continue
        axes = [*outer, (rows, 0, yh), (columns, 0, yw)]
        axes = sorted((axis for axis in axes if axis[0] > 1), key=lambda a: -a[2])
        yield Copy(axes, 0, row * yh + column * yw)
