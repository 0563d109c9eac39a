"""An activation becomes the last step of the op before it."""

from __future__ import annotations

from dataclasses import replace

from ..ir import (
    Add,
    Arith,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Elementwise,
    Graph,
    GroupNorm,
    Linear,
    Node,
)
from .rewrite import Rewriter

_TAKE_ACT = (BatchNorm, Conv2d, ConvTranspose2d, GroupNorm, Linear, Add, Arith)


def fuse_activation(graph: Graph) -> Graph:
    """Into a convolution, a linear layer, a batch norm or an addition that nothing else reads.

    %1 = conv2d(%0); %2 = elementwise(%1; act)   =>   %2 = conv2d(%0; act)
    """
    rewriter = Rewriter(graph, "fuse_activation")
    made = dict(rewriter.producers)
    for node in graph.nodes:
        if not isinstance(node.op, Elementwise):
            continue
        (x,), (y,) = node.inputs, node.outputs
        before = made.get(x)
        if before is None or not isinstance(before.op, _TAKE_ACT):
            what = "the model's input" if before is None else before.op.name
            rewriter.note(node, f"it follows {what}, which takes no activation")
        elif before.op.act:
            rewriter.note(node, f"{before.op.name} has the activation {before.op.act} already")
        elif rewriter.only_user(x) is None:
            rewriter.note(node, f"the output of {before.op.name} is used elsewhere too")
        else:
            made[y] = Node(replace(before.op, act=node.op.act), before.inputs, (y,), before.path)
            rewriter.put(node)
            rewriter.put(rewriter.producers[x], made[y])
            rewriter.same_shape(x, y)
    return rewriter.done()
