"""Batch norm with running statistics becomes part of the weight before it."""

from __future__ import annotations

from dataclasses import replace

from ..ir import BatchNorm, Conv2d, ConvTranspose2d, Graph, Linear, Node
from .rewrite import Rewriter


def fold_batch_norm(graph: Graph) -> Graph:
    """Recorded on the op (`norms`); the numbers are `folded_weight`'s.

        %1 = conv2d(%0); %2 = batch_norm(%1)   =>   %2 = conv2d(%0; norms=(...))

    Only if the batch norm alone reads the convolution.  A conv that is called twice is two nodes, each folded by its
    own norm.
    """
    rewriter = Rewriter(graph, "fold_batch_norm")
    made = dict(rewriter.producers)  # value -> the node that makes it now
    place = dict(rewriter.producers)  # value -> the node of `graph` in whose place that stands
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        (x,), (y,) = node.inputs, node.outputs
        refusal = _refusal(rewriter, node, made.get(x))
        if refusal:
            rewriter.note(node, refusal)
            continue
        before = made[x]
        assert isinstance(before.op, (Conv2d, ConvTranspose2d, Linear))  # by _refusal
        op = replace(before.op, norms=(*before.op.norms, node.op.norm))
        made[y], place[y] = Node(op, before.inputs, (y,), before.path), place[x]
        rewriter.put(node)
        rewriter.put(place[y], made[y])
        rewriter.same_shape(x, y)
    return rewriter.done()


def _refusal(rewriter: Rewriter, node: Node, before: Node | None) -> str:
    if before is None or not isinstance(before.op, (Conv2d, ConvTranspose2d, Linear)):
        what = "the model's input" if before is None else before.op.name
        return f"it follows {what}, not a convolution or a linear layer"
    if before.op.act or getattr(before.op, "has_residual", False):
        return "an activation or an addition stands between it and the convolution"
    if rewriter.only_user(node.inputs[0]) is None:
        return f"the output of {before.op.name} is used elsewhere too"
    if isinstance(before.op, Linear) and len(rewriter.shapes()[node.inputs[0]]) != 2:
        return "its channels are not the features of the linear layer"
    return ""
