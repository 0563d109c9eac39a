"""Zero padding taken into the op that reads it."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Conv2d, Graph, Node, Op, Pad, Pool2d
from .rewrite import Rewriter


def fold_pad(graph: Graph) -> Graph:
    """Into a convolution, and into an average pool where that counts its padding the same way.

        %1 = pad(%0; pads); %2 = conv2d(%1; padding)   =>   %2 = conv2d(%0; padding + pads)

    A pad with other readers is folded into every one that can take it, and stays for the others.
    """
    rewriter = Rewriter(graph, "fold_pad")
    pads: dict[int, Node] = {}
    for node in graph.nodes:
        if isinstance(node.op, Pad):
            inner = pads.get(node.inputs[0])
            if inner is not None and isinstance(inner.op, Pad) and _joins(node.op, inner.op):
                node = Node(_joined(node.op, inner.op), inner.inputs, node.outputs, node.path)
                rewriter.put(node, node)
            pads[node.outputs[0]] = node
            continue
        pad = pads.get(node.inputs[0]) if node.inputs else None
        if pad is None or not isinstance(pad.op, Pad):
            continue
        folded = _fold(node.op, pad.op)
        if isinstance(folded, str):
            rewriter.note(node, folded)
        else:
            rewriter.put(node, replace(node, op=folded, inputs=(pad.inputs[0], *node.inputs[1:])))
    return rewriter.done()


def _joins(outer: Pad, inner: Pad) -> bool:
    alike = outer.value == inner.value and outer.axes == inner.axes
    return alike and outer.mode == inner.mode == "constant"


def _joined(outer: Pad, inner: Pad) -> Pad:
    top, left, bottom, right = (a + b for a, b in zip(outer.pads, inner.pads, strict=True))
    return replace(outer, pads=(top, left, bottom, right))


def _fold(op: Op, pad: Pad) -> Op | str:
    """`op` with the pad taken in, or why not."""
    if not isinstance(op, (Conv2d, Pool2d)):
        return f"a pad before {op.name} is not folded"
    if pad.axes != (-2, -1):
        return f"the pad is of axes {pad.axes}, not of the image's"
    if pad.mode != "constant":
        return f"the pad is by {pad.mode}, {op.name} pads with zeros"
    if pad.value != 0:
        return f"the pad's value is {pad.value}, {op.name} pads with zeros"
    top, left, bottom, right = pad.pads
    if isinstance(op, Conv2d):
        t, le, b, r = op.padding
        return replace(op, padding=(t + top, le + left, b + bottom, r + right))
    return _into_pool(op, pad)


def _into_pool(op: Pool2d, pad: Pad) -> Op | str:
    top, left, bottom, right = pad.pads
    if op.mode == "max":
        return "max pooling pads with -inf, the pad with zeros"
    if (top, left) != (bottom, right):
        return f"the pad {pad.pads} is not symmetric, a pool's padding is"
    if op.padding != (0, 0) or op.ceil_mode or not op.count_include_pad:
        return "the pool counts its own padding in another way than the pad's zeros"
    if 2 * top > op.kernel[0] or 2 * left > op.kernel[1]:
        return f"the pad {pad.pads} is more than half of the kernel {op.kernel}"
    return replace(op, padding=(top, left))
