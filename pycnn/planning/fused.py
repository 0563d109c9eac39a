"""Neighbours in a segment that a target has one kernel for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pycnn.ir import (
    BatchNorm,
    Conv2d,
    Node,
    Op,
    Pool2d,
    PooledConv2d,
    ScaledConv2d,
    Shapes,
    TensorTable,
    resolve,
)
from pycnn.planning import params as fields
from pycnn.planning.params import Params
from pycnn.planning.segments import Segment
from pycnn.planning.target import Target

Joined = tuple[Op, Params] | None  # the op of two nodes, and its parameters; None: it is none


def fused(segment: Segment, shapes: Shapes, tensors: TensorTable, target: Target) -> Segment:
    """With two nodes as one, where the second alone reads the first and the target takes them, if not as x lies then
    from a copy:

    %2 = conv2d(%1; act); %3 = pool2d(%2; max)         =>   %3 = conv2d_pool(%1)
    %2 = batch_norm(%1; relu); %3 = conv2d(%2; 1x1)    =>   %3 = conv2d_scaled(%1)
    """
    readers = Counter(v for node in segment.nodes for v in node.inputs)
    readers.update(segment.outputs)
    made: dict[int, Node] = {}
    gone: set[int] = set()
    for node in segment.nodes:
        first = made.get(node.inputs[0]) if node.inputs else None
        alone = first is not None and readers[node.inputs[0]] == 1
        op = _joined(first, node, shapes, tensors, target) if first is not None and alone else None
        if first is not None and op is not None:
            gone.add(node.inputs[0])
            path = first.path if isinstance(op, PooledConv2d) else node.path
            node = Node(op, (*first.inputs, *node.inputs[1:]), node.outputs, path)
        made[node.outputs[0]] = node
    return replace(segment, nodes=tuple(n for v, n in made.items() if v not in gone))


def _joined(
    first: Node, second: Node, shapes: Shapes, tensors: TensorTable, target: Target
) -> Op | None:
    for join in (_pooled, _scaled):
        found = join(first, second, shapes, tensors)
        if found is None:
            continue
        op, params = found
        if target.fuses(op.name, {**params, "ldx": target.pixel_stride(int(params["c"]))}, 0):
            return op
    return None


def _pooled(conv: Node, pool: Node, shapes: Shapes, tensors: TensorTable) -> Joined:
    if not isinstance(conv.op, Conv2d) or not isinstance(pool.op, Pool2d):
        return None
    if pool.op.mode != "max" or conv.op.has_residual:
        return None
    op = resolve(PooledConv2d(conv.op, pool.op), shapes)
    if not fields.has_square_windows(op.pool):
        return None
    ends = shapes[conv.inputs[0]], shapes[pool.outputs[0]]
    return op, fields.conv2d_pool(op, *ends, tensors)


def _scaled(norm: Node, conv: Node, shapes: Shapes, tensors: TensorTable) -> Joined:
    if not isinstance(norm.op, BatchNorm) or not isinstance(conv.op, Conv2d):
        return None
    if norm.op.act and norm.op.act.kind != "relu":
        return None
    op = resolve(ScaledConv2d(norm.op, conv.op), shapes)
    ends = shapes[norm.inputs[0]], shapes[conv.outputs[0]]
    return op, fields.conv2d_scaled(op, *ends, tensors)
