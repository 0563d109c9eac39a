"""A product reads its operands through the movements before it, and writes its result through the one behind it."""

from __future__ import annotations

from dataclasses import replace

from ..ir import MOVES, Expand, Graph, MatMul, Node, Op, Rearrange, Slice, Unfold
from .rewrite import Rewriter


def read_through(graph: Graph) -> Graph:
    """The heads of a projection are multiplied where they lie, and their results joined as they are written.

    %1 = rearrange(%0; reshape, permute); %2 = matmul(%1, %b); %3 = rearrange(%2; reshape, permute, reshape)
        =>   %3 = matmul(%0, %b; a: reshape, permute; y: reshape, permute, reshape)

    Not where something else reads what lies between, or still names its sizes.
    """
    rewriter = Rewriter(graph, "read_through")
    for node in graph.nodes:
        if not isinstance(node.op, MatMul):
            continue
        made = _read(rewriter, node, node.op)
        assert isinstance(made.op, MatMul)
        behind = _written(rewriter, node.outputs[0])
        if behind is not None:
            moves = (*made.op.y, *_moves(behind.op))
            made = replace(made, op=replace(made.op, y=moves), outputs=behind.outputs)
            rewriter.put(behind)
        if made != node:
            rewriter.put(node, made)
    return rewriter.done()


def _read(rewriter: Rewriter, node: Node, op: MatMul) -> Node:
    inputs, views = list(node.inputs), [op.a, op.b, op.r]
    for at, value in enumerate(node.inputs):
        maker = rewriter.producers.get(value)
        if maker is None or not isinstance(maker.op, MOVES) or not _only_products(rewriter, value):
            continue
        inputs[at], views[at] = maker.inputs[0], (*_moves(maker.op), *views[at])
        rewriter.put(maker)
    a, b, r = views
    return replace(node, op=replace(op, a=a, b=b, r=r), inputs=tuple(inputs))


def _only_products(rewriter: Rewriter, value: int) -> bool:
    readers = rewriter.consumers.get(value, [])
    kept = value in rewriter.outputs or value in rewriter.sized
    return not kept and all(isinstance(reader.op, MatMul) for reader in readers)


def _written(rewriter: Rewriter, value: int) -> Node | None:
    """The movement of all elements that alone reads the value."""
    reader = rewriter.only_user(value)
    if reader is None or not isinstance(reader.op, MOVES) or value in rewriter.sized:
        return None
    if any(isinstance(move, (Slice, Expand, Unfold)) for move in _moves(reader.op)):
        return None
    after = rewriter.only_user(reader.outputs[0])
    return None if after is not None and isinstance(after.op, MatMul) else reader


def _moves(op: Op) -> tuple[Op, ...]:
    return op.moves if isinstance(op, Rearrange) else (op,)
