"""Layers that work on the last axis see a value of four or more axes as rows."""

from __future__ import annotations

from ..ir import Dim, Flatten, Graph, LayerNorm, Linear, Node, Size, Unflatten
from .rewrite import Rewriter


def flatten_rows(graph: Graph) -> Graph:
    """What `sink_permute` left: memory is adjacent along axis 1 of four, so that this is a copy, and one back.

    %1 = linear(%0 [2, 3, 4, 8])   =>   %2 = flatten(%0; 0..2); %3 = linear(%2); %1 = unflatten(%3; 2, 3, 4)
    """
    rewriter = Rewriter(graph, "flatten_rows")
    last = (Linear, LayerNorm)
    if not any(isinstance(node.op, last) for node in graph.nodes):
        return graph
    shapes = rewriter.shapes()
    for node in graph.nodes:
        rank = len(shapes[node.inputs[0]]) if node.inputs else 0
        if not isinstance(node.op, last) or rank < 4 or getattr(node.op, "axis", -1) != -1:
            continue
        x = node.inputs[0]
        sizes = tuple(Dim(shapes[x][axis], Size(x, axis)) for axis in range(rank - 1))
        rows = {v: rewriter.new_value(v) for v in dict.fromkeys(node.inputs)}
        made = rewriter.new_value(node.outputs[0])
        rewriter.put(
            node,
            *(Node(Flatten(0, rank - 2), (v,), (row,), node.path) for v, row in rows.items()),
            Node(node.op, tuple(rows[v] for v in node.inputs), (made,), node.path),
            Node(Unflatten(0, sizes), (made,), node.outputs, node.path),
        )
    return rewriter.done()
