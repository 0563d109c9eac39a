"""Layers on lines [n, c, l] become layers on the maps of one row [n, c, 1, l] that convolutions there make."""

from __future__ import annotations

from ..ir import Add, Arith, BatchNorm, Elementwise, Flatten, Graph, Node, Op, Source, Unflatten
from .rewrite import Rewriter

_AS_MAP, _AS_LINE = Unflatten(2, (1, -1)), Flatten(2, 3)


def sink_line(graph: Graph) -> Graph:
    """The flatten behind a map of one row moves behind what reads it, until the next layer takes a map again.

    %1 = flatten(%0; 2..3); %2 = batch_norm(%1); %3 = unflatten(%2; 2 into 1, -1)
        =>   %4 = batch_norm(%0), read for %3;  %1, %2 are left for who else reads them
    """
    rewriter = Rewriter(graph, "sink_line")
    if not any(node.op == _AS_MAP for node in graph.nodes):
        return graph
    shapes = rewriter.shapes()
    maps: dict[int, int] = {}  # line -> the map it is
    for node in graph.nodes:
        (y,) = node.outputs if len(node.outputs) == 1 else (-1,)
        if node.op == _AS_LINE and len(shapes[node.inputs[0]]) == 4:
            made_by = rewriter.producers.get(node.inputs[0])
            before = (
                rewriter.producers.get(made_by.inputs[0]) if made_by and made_by.inputs else None
            )
            if before is not None and before.op == _AS_MAP:
                maps[y] = node.inputs[0]
        elif node.op == _AS_MAP and node.inputs[0] in maps:
            rewriter.rename(y, maps[node.inputs[0]])
            rewriter.put(node)
        elif node.inputs and all(v in maps for v in node.inputs) and _pixelwise(node.op):
            made = rewriter.new_value(y)
            maps[y] = made
            moved = Node(node.op, tuple(maps[v] for v in node.inputs), (made,), node.path)
            rewriter.put(node, moved, Node(_AS_LINE, (made,), (y,), node.path))
    return rewriter.done()


def _pixelwise(op: Op) -> bool:
    """Whether it does to a map of one row what it does to a line."""
    if isinstance(op, Arith):  # a tensor of the model would lack an axis
        return not isinstance(op.other, Source)
    return isinstance(op, (Add, BatchNorm, Elementwise))
