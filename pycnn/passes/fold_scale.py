"""A factor for each channel, or one number, becomes part of the weight before it: layer scale, residual scaling."""

from __future__ import annotations

import math
from dataclasses import replace

from ..ir import Arith, Conv2d, ConvTranspose2d, Graph, Linear, Node, Scale, Source
from .rewrite import Rewriter


def fold_scale(graph: Graph) -> Graph:
    """Recorded on the op (`norms`), as a batch norm without a shift.

    %1 = conv2d(%0); %2 = arith(%1; mul, scale)   =>   %2 = conv2d(%0; norms=(..., scale))

    Only if the multiplication alone reads the convolution, and nothing stands between them.
    """
    rewriter = Rewriter(graph, "fold_scale")
    for node in graph.nodes:
        if not isinstance(node.op, Arith) or node.op.kind != "mul" or len(node.inputs) != 1:
            continue
        (x,), (y,) = node.inputs, node.outputs
        before = rewriter.producers.get(x)
        refusal = _refusal(rewriter, node.op, x, before)
        if refusal:
            rewriter.note(node, refusal)
            continue
        assert before is not None and isinstance(before.op, (Conv2d, ConvTranspose2d, Linear))
        assert node.op.other is not None  # one input
        norms = (*before.op.norms, Scale(node.op.other))
        rewriter.put(node)
        op = replace(before.op, norms=norms, act=node.op.act)
        rewriter.put(before, Node(op, before.inputs, (y,), before.path))
        rewriter.same_shape(x, y)
    return rewriter.done()


def _refusal(rewriter: Rewriter, op: Arith, x: int, before: Node | None) -> str:
    if before is None or not isinstance(before.op, (Conv2d, ConvTranspose2d, Linear)):
        what = "the model's input" if before is None else before.op.name
        return f"it follows {what}, not a convolution or a linear layer"
    if before.op.act or getattr(before.op, "has_residual", False):
        return "an activation or an addition stands between it and the convolution"
    if rewriter.only_user(x) is None:
        return f"the output of {before.op.name} is used elsewhere too"
    if isinstance(op.other, Source):
        rank = len(rewriter.shapes()[x])
        shape = rewriter.graph.tensors.shape(op.other)
        full = (1,) * (rank - len(shape)) + tuple(shape)
        channels = full[rank - 1 if isinstance(before.op, Linear) else 1]
        if math.prod(full) != channels:
            return f"its factors, {list(shape)}, are not the channels'"
    return ""
