"""How joins, paddings and movements of elements become steps of a plan: copies, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pycnn.ir import (
    Concat,
    Expand,
    Flatten,
    Identity,
    Node,
    Op,
    Pad,
    Permute,
    Rearrange,
    Reshape,
    Slice,
    Unflatten,
    Unfold,
)
from pycnn.planning import padding
from pycnn.planning import params as fields
from pycnn.planning.homes import Home, Rows, of_channels
from pycnn.planning.lower_ops import lds, lower_op
from pycnn.planning.lowering import Lowering
from pycnn.planning.movement import View, dense_after, moves_of, rearrange, strides
from pycnn.planning.support import is_flatten


@lower_op.register
def _concat(op: Concat, work: Lowering, node: Node) -> None:
    if not of_channels(op, work.shapes[node.outputs[0]]):
        _stack_rows(op, work, node)
        return
    y, offset = work.homes[node.outputs[0]], 0
    for v in node.inputs:
        x = work.nhwc(v, node)
        if (x.kind, x.index, x.offset) != (y.kind, y.index, y.offset + offset):
            target = replace(y, offset=y.offset + offset)
            work.emit("concat", node, fields.rows(work.shapes[v], x, target), x, target)
        offset += Rows.of(work.shapes[v]).c


def _stack_rows(op: Concat, work: Lowering, node: Node) -> None:
    """A join along another axis than the channels: each operand is copied to where it belongs."""
    y = work.homes[node.outputs[0]]
    target = strides(work.shapes[node.outputs[0]], y.ld)
    at = 0
    for v in node.inputs:
        x, shape = work.homes[v], work.shapes[v]
        axes = View.of(shape, x.ld, x.nchw).onto(target)
        to = replace(y, offset=y.offset + at * target[op.dim])
        work.emit("rearrange", node, rearrange(axes), x, to)
        at += shape[op.dim]


@lower_op.register
def _pad(op: Pad, work: Lowering, node: Node) -> None:
    x, y = work.homes[node.inputs[0]], work.homes[node.outputs[0]]
    shape = work.shapes[node.inputs[0]]
    target = strides(work.shapes[node.outputs[0]], y.ld)
    if op.mode == "constant":
        value = work.constant(op.value)
        for each in padding.borders(op, shape, target):
            to = replace(y, offset=y.offset + each.y)
            work.emit("rearrange", node, rearrange(each.axes), value, to)
    for each in padding.copies(op, shape, strides(shape, x.ld, x.nchw), target):
        start, to = replace(x, offset=x.offset + each.x), replace(y, offset=y.offset + each.y)
        work.emit("rearrange", node, rearrange(each.axes), start, to)


@lower_op.register(Flatten)
@lower_op.register(Reshape)
@lower_op.register(Identity)
@lower_op.register(Unflatten)
def _reshape(op: Op, work: Lowering, node: Node) -> None:
    """The same elements in NCHW order as rows of another width; or an NCHW input as it is, in NHWC."""
    x, y = work.homes[node.inputs[0]], work.homes[node.outputs[0]]
    shape, out = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    if not is_flatten(shape, out):
        _rearrange(op, work, node)
        return
    if x.nchw and len(out) == 4:
        work.emit("layout", node, fields.layout(out, False, y.ld), x, y)
        return
    n = shape[0]
    width = Rows.of(shape).count * Rows.of(shape).c // n
    if len(shape) == 4 and not x.nchw:
        flat = y if y.ld == width else work.buffer(n * width, width)
        work.emit("layout", node, fields.layout(shape, True, x.ld), x, flat)
        if flat is y:
            return
        x = flat
    else:
        x = replace(x, ld=width if x.nchw else x.ld)
    work.emit("concat", node, {"pixels": n, "c": width, **lds(x, y)}, x, y)


@lower_op.register(Expand)
@lower_op.register(Permute)
@lower_op.register(Rearrange)
@lower_op.register(Slice)
@lower_op.register(Unfold)
def _rearrange(op: Op, work: Lowering, node: Node) -> None:
    """One copy; one more before each change of shape whose sizes do not divide those before it."""
    x, y = work.homes[node.inputs[0]], work.homes[node.outputs[0]]
    view = View.of(work.shapes[node.inputs[0]], x.ld, x.nchw)
    x, view = through(work, node, x, view, moves_of(op))
    axes = view.onto(strides(work.shapes[node.outputs[0]], y.ld))
    work.emit("rearrange", node, rearrange(axes), starting(x, view), y)


def through(
    work: Lowering, node: Node, x: Home, view: View, moves: Sequence[Op]
) -> tuple[Home, View]:
    """The buffer and the view of it that is `view` of x after movements; copied where no strides tell one."""
    for move in moves:
        after = view.after(move, work.tensors)
        if after is None:
            shape = view.shape
            x = dense_copy(work, node, x, view)
            after = dense_after(move, shape, work.tensors)
        view = after
    return x, view


def dense_copy(work: Lowering, node: Node, x: Home, view: View) -> Home:
    """A buffer with the view's elements, row-major without gaps."""
    shape = view.shape
    flat = work.buffer(math.prod(shape), shape[-1])
    axes = view.onto(strides(shape, shape[-1], nchw=True))
    work.emit("rearrange", node, rearrange(axes), starting(x, view), flat)
    return flat


def starting(x: Home, view: View) -> Home:
    """x from the view's first element on."""
    return replace(x, offset=x.offset + view.offset)
