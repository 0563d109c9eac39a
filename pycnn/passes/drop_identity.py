"""Remove what does nothing."""

from __future__ import annotations

from ..ir import Elementwise, Flatten, Graph, Identity, Node, Pad
from .rewrite import Rewriter


def drop_identity(graph: Graph) -> Graph:
    """Dropout in eval, clone, contiguous, flatten of one axis, pad by nothing.

        %1 = identity(%0); %2 = conv2d(%1)   =>   %2 = conv2d(%0)

    Kept where the model returns the result and its source is an input or another output: the caller would get one
    tensor where torch gives two. What asks for a layout stays: the formats of later results follow from it.
    """
    rewriter = Rewriter(graph, "drop_identity")
    shared = {*graph.inputs, *graph.output_values()}
    source: dict[int, int] = {}
    for node in graph.nodes:
        if not _does_nothing(node):
            continue
        value, origin = node.outputs[0], source.get(node.inputs[0], node.inputs[0])
        if value in rewriter.outputs and origin in shared:
            rewriter.note(node, "is returned beside the tensor it copies, so it must be a copy")
            continue
        if value in rewriter.outputs:
            shared.add(origin)
        source[value] = origin
        rewriter.put(node)
        rewriter.rename(value, origin)
    return rewriter.done()


def _does_nothing(node: Node) -> bool:
    op = node.op
    if isinstance(op, Identity):
        return not op.layout
    if isinstance(op, Elementwise):
        return not op.act
    if isinstance(op, Flatten):
        return op.start == op.end
    return isinstance(op, Pad) and all(type(p) is int and p == 0 for p in op.pads)
