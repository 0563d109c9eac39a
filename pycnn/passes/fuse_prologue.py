"""A batch norm, or the gate of squeeze-and-excitation, becomes part of the 1x1 convolution that reads its result."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Arith, BatchNorm, Conv2d, Graph, Node, Shape
from .rewrite import Rewriter

_CLAMPS = ("none", "relu", "relu6")  # which cost nothing on the way
_LEAST_CHANNELS = 8


def fuse_prologue(graph: Graph) -> Graph:
    """Pixels of the map are changed on their way into the product, and the map itself is never written.

        %1 = batch_norm(%0; relu); %2 = conv2d(%1)   =>   %2 = conv2d(%0; prologue)
        %1 = arith(%0, %g; mul); %2 = conv2d(%1, %r)   =>   %2 = conv2d(%0, %r, %g; has_gate)

    For targets whose 1x1 kernels do so.
    """
    rewriter = Rewriter(graph, "fuse_prologue")
    shapes: dict[int, Shape] = {}
    for node in graph.nodes:
        if isinstance(node.op, BatchNorm):
            operands: tuple[int, ...] | None = node.inputs
        elif isinstance(node.op, Arith) and node.op.kind == "mul" and len(node.inputs) == 2:
            shapes = shapes or rewriter.shapes()
            operands = _gated(node, shapes)
        else:
            continue
        if operands is None:
            continue
        if refusal := _refusal(rewriter, node):
            rewriter.note(node, refusal)
        else:
            _fuse(rewriter, node, operands)
    return rewriter.done()


def _gated(node: Node, shapes: dict[int, Shape]) -> tuple[int, int] | None:
    """(map, gate): one of the two operands has one pixel where the other has more."""
    a, b = node.inputs
    for x, gate in ((a, b), (b, a)):
        n_c_h_w, pixel = tuple(shapes[x]), (*shapes[x][:2], 1, 1)
        if len(n_c_h_w) == 4 and tuple(shapes[gate]) == pixel != n_c_h_w:
            return x, gate
    return None


def _refusal(rewriter: Rewriter, node: Node) -> str:
    assert isinstance(node.op, (Arith, BatchNorm))
    if node.op.act.kind not in (_CLAMPS if isinstance(node.op, BatchNorm) else ("none",)):
        return f"its activation is {node.op.act}"
    reader = rewriter.only_user(node.outputs[0])
    if reader is None:
        return "its result is used elsewhere too"
    op = reader.op
    if not isinstance(op, Conv2d) or reader.inputs[0] != node.outputs[0]:
        return f"{op.name} reads it"
    tensors = rewriter.graph.tensors
    if not op.takes_prologue(tensors) or tensors.shape(op.weight)[1] < _LEAST_CHANNELS:
        return "the convolution behind it is not a 1x1 one of at least 8 channels and one group"
    return ""


def _fuse(rewriter: Rewriter, node: Node, operands: tuple[int, ...]) -> None:
    """`operands`: the map, and the gate if the node is one."""
    reader = rewriter.only_user(node.outputs[0])
    assert reader is not None and isinstance(reader.op, Conv2d)  # by _refusal
    x, *gate = operands
    prologue = node.op if isinstance(node.op, BatchNorm) else None
    op = replace(reader.op, prologue=prologue, has_gate=bool(gate))
    rewriter.put(reader, Node(op, (x, *reader.inputs[1:], *gate), reader.outputs, reader.path))
    rewriter.put(node)
    rewriter.same_shape(node.outputs[0], x)
