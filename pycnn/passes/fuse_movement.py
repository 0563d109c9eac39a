"""Permutes, slices and changes of shape, one after the other, as one copy."""

from __future__ import annotations

from ..ir import MOVES, Graph, Node, Op, Rearrange, Slice
from .rewrite import Rewriter


def fuse_movement(graph: Graph) -> Graph:
    """A movement that only another movement reads, or several that begin with slices, joins what reads it.

    %1 = reshape(%0); %2 = permute(%1); %3 = reshape(%2)   =>   %3 = rearrange(%0; reshape, permute, reshape)

    Not where something else still names the sizes of a value between them.
    """
    rewriter = Rewriter(graph, "fuse_movement")
    begun: dict[int, tuple[int, tuple[Op, ...]]] = {}  # value gone -> its source, the moves to it
    for node in graph.nodes:
        if not isinstance(node.op, MOVES):
            continue
        (x,), (y,) = node.inputs, node.outputs
        source, moves = begun.get(x, (x, ()))
        moves += _moves(node.op)
        if _joins(rewriter, y):
            if y not in rewriter.sized:
                begun[y] = source, moves
                rewriter.put(node)
                continue
            rewriter.note(node, "sizes of its result are used elsewhere")
        if x in begun:
            rewriter.put(node, Node(Rearrange(moves), (source,), (y,), node.path))
    return rewriter.done()


def _moves(op: Op) -> tuple[Op, ...]:
    return op.moves if isinstance(op, Rearrange) else (op,)


def _joins(rewriter: Rewriter, value: int) -> bool:
    """Whether everything that reads it is a movement, of parts where there are several."""
    readers = rewriter.consumers.get(value, [])
    if not readers or value in rewriter.outputs:
        return False
    if not all(isinstance(reader.op, MOVES) for reader in readers):
        return False
    return len(readers) == 1 or all(isinstance(_moves(r.op)[0], Slice) for r in readers)
