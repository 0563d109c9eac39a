"""Permutes and changes of shape, one after the other, as one copy."""

from __future__ import annotations

from ..ir import Flatten, Graph, Node, Op, Permute, Rearrange, Reshape
from .rewrite import Rewriter


def fuse_movement(graph: Graph) -> Graph:
    """A movement that only another movement reads joins it.

    %1 = reshape(%0); %2 = permute(%1); %3 = reshape(%2)   =>   %3 = rearrange(%0; reshape, permute, reshape)

    Not where something else still names the sizes of a value between them.
    """
    rewriter = Rewriter(graph, "fuse_movement")
    begun: dict[int, tuple[int, tuple[Op, ...]]] = {}  # value gone -> its source, the moves to it
    for node in graph.nodes:
        if not isinstance(node.op, (Flatten, Permute, Rearrange, Reshape)):
            continue
        (x,), (y,) = node.inputs, node.outputs
        source, moves = begun.get(x, (x, ()))
        moves += node.op.moves if isinstance(node.op, Rearrange) else (node.op,)
        reader = rewriter.only_user(y)
        if reader is not None and isinstance(reader.op, (Flatten, Permute, Rearrange, Reshape)):
            if y not in rewriter.sized:
                begun[y] = source, moves
                rewriter.put(node)
                continue
            rewriter.note(node, "sizes of its result are used elsewhere")
        if x in begun:
            rewriter.put(node, Node(Rearrange(moves), (source,), (y,), node.path))
    return rewriter.done()
