"""Neighbours in a segment that a target has one kernel for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from pycnn.ir import (
    Conv2d,
    Excitation,
    InvertedResidual,
    LayerNorm,
    Node,
    NormedConv2d,
    Op,
    Pool2d,
    PooledConv2d,
    Shapes,
    TensorTable,
    resolve,
)
from pycnn.planning import params as fields
from pycnn.planning.blocks import with_blocks
from pycnn.planning.gates import with_gates
from pycnn.planning.params import Params
from pycnn.planning.segments import Segment
from pycnn.planning.target import Target

Joined = tuple[Op, Params] | None  # the op of two nodes, and its parameters; None: it is none


def fused(segment: Segment, shapes: Shapes, tensors: TensorTable, target: Target) -> Segment:
    """With two nodes as one, where the second alone reads the first and the target takes them, if not as x lies then
    from a copy:

    %2 = conv2d(%1; act); %3 = pool2d(%2; max)                =>   %3 = conv2d_pool(%1)
    %2 = conv2d(%1; depthwise); %3 = layer_norm(%2; axis 1)   =>   %3 = conv2d_layer_norm(%1)

    Then what planning/gates.py and planning/blocks.py do, where the target joins such.
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
            node = Node(op, (*first.inputs, *node.inputs[1:]), node.outputs, first.path)
        made[node.outputs[0]] = node
    segment = replace(segment, nodes=tuple(n for v, n in made.items() if v not in gone))
    if Excitation in target.joins:
        segment = with_gates(segment, shapes, tensors, target)
    if InvertedResidual in target.joins:
        segment = with_blocks(segment, shapes, tensors, target)
    return segment


def _joined(
    first: Node, second: Node, shapes: Shapes, tensors: TensorTable, target: Target
) -> Op | None:
    for join in (_pooled, _normed):
        found = join(first, second, shapes, tensors)
        if found is None or type(found[0]) not in target.joins:
            continue
        op, params = found
        if target.reads(op.name, {**params, "ldx": target.pixel_stride(int(params["c"]))}, 0):
            return op
    return None


def _pooled(conv: Node, pool: Node, shapes: Shapes, tensors: TensorTable) -> Joined:
    if not isinstance(conv.op, Conv2d) or not isinstance(pool.op, Pool2d):
        return None
    if pool.op.mode != "max" or conv.op.has_residual or conv.op.has_gate:
        return None
    op = resolve(PooledConv2d(conv.op, pool.op), shapes)
    if not fields.has_square_windows(op.pool):
        return None
    ends = shapes[conv.inputs[0]], shapes[pool.outputs[0]]
    return op, fields.conv2d_pool(op, *ends, tensors)


def _normed(conv: Node, norm: Node, shapes: Shapes, tensors: TensorTable) -> Joined:
    if not isinstance(conv.op, Conv2d) or not isinstance(norm.op, LayerNorm) or norm.op.axis != 1:
        return None
    op = resolve(NormedConv2d(conv.op, norm.op), shapes)
    ends = shapes[conv.inputs[0]], shapes[norm.outputs[0]]
    return op, fields.conv2d_layer_norm(op, *ends, tensors)
