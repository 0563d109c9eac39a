"""An addition becomes part of the convolution or linear layer that makes one of its operands."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Add, Conv2d, Graph, Linear, Node
from .rewrite import Rewriter


def fuse_residual(graph: Graph) -> Graph:
    """The op then computes act(conv + residual), so it must have no activation of its own.

        %2 = conv2d(%1); %3 = add(%2, %0; act)   =>   %3 = conv2d(%1, %0; has_residual, act)

    Of two operands that could take it the later one does: the other is there by then.
    """
    rewriter = Rewriter(graph, "fuse_residual")
    taken: set[int] = set()  # sums that a convolution computes now
    for node in graph.nodes:
        if not isinstance(node.op, Add):
            continue
        a, b = sorted(node.inputs, key=lambda v: rewriter.position.get(v, -1), reverse=True)
        refusals = []
        for x, residual in ((a, b), (b, a)):
            refusal = (
                "both operands are the same" if a == b else _refusal(rewriter, x, x == a, taken)
            )
            if not refusal:
                _fuse(rewriter, node, node.op, x, residual, in_place=x == a)
                taken.add(node.outputs[0])
                break
            refusals.append(f"%{x}: {refusal}")
        else:
            rewriter.note(node, "; ".join(dict.fromkeys(refusals)))
    return rewriter.done()


def _fuse(rewriter: Rewriter, node: Node, add: Add, x: int, residual: int, in_place: bool) -> None:
    """Put conv + add where the conv is if the residual exists there (`in_place`), else where the add is."""
    before = rewriter.producers[x]
    assert isinstance(before.op, (Conv2d, Linear))  # by _refusal
    op = replace(before.op, has_residual=True, act=add.act)
    fused = Node(op, (*before.inputs, residual), node.outputs, before.path)
    rewriter.put(before, *([fused] if in_place else []))
    rewriter.put(node, *([] if in_place else [fused]))
    rewriter.same_shape(x, node.outputs[0])


def _refusal(rewriter: Rewriter, x: int, in_place: bool, taken: set[int]) -> str:
    if x in taken:
        return "the convolution before it has a residual already"
    before = rewriter.producers.get(x)
    if before is None or not isinstance(before.op, (Conv2d, Linear)):
        return "made by " + ("the caller" if before is None else before.op.name)
    if before.op.act:
        return f"{before.op.name} has its activation before the addition"
    if before.op.has_residual:
        return f"{before.op.name} has a residual already"
    if rewriter.only_user(x) is None:
        return f"the output of {before.op.name} is used elsewhere too"
    if not in_place and x in rewriter.sized:
        return f"the size of the output of {before.op.name} is used before the addition"
    return ""
