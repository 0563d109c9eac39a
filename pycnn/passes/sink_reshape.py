"""A group norm of a map's pixels in a row becomes one of the map, whose channels are adjacent in a plan."""

from __future__ import annotations

from ..ir import Expr, Flatten, Graph, GroupNorm, Guard, Node, Reshape, Size, expr_of
from .rewrite import Rewriter


def sink_reshape(graph: Graph) -> Graph:
    """A change of [n, c, h, w] to [n, c, h * w] moves behind the group norm that reads it.

    %1 = reshape(%0; n, c, h * w); %2 = group_norm(%1)
        =>   %3 = group_norm(%0); %2 = reshape(%3; n, c, h * w);  %1 is left for who else reads it
    """
    rewriter = Rewriter(graph, "sink_reshape")
    guards: list[Guard] = []
    for node in graph.nodes:
        before = rewriter.producers.get(node.inputs[0]) if isinstance(node.op, GroupNorm) else None
        if before is None:
            continue
        needed = _keeps_channels(before, rewriter)
        if needed is None:
            continue
        guards += needed
        (y,) = node.outputs
        made = rewriter.new_value(y)
        norm = Node(node.op, before.inputs, (made,), node.path)
        rewriter.put(node, norm, Node(before.op, (made,), (y,), node.path))
    return rewriter.done(guards)


def _keeps_channels(node: Node, rewriter: Rewriter) -> list[Guard] | None:
    """What must hold of sizes for the node to be [n, c, h, w] -> [n, c, h * w]; None: it is not."""
    if isinstance(node.op, Flatten) and (node.op.start, node.op.end) == (2, 3):
        return []
    if not isinstance(node.op, Reshape) or len(node.op.shape) != 3:
        return None
    shapes = rewriter.shapes()
    x = shapes[node.inputs[0]]
    if len(x) != 4 or shapes[node.outputs[0]][:2] != x[:2]:
        return None
    same: list[tuple[Expr, Expr]] = []
    for axis, size in enumerate(node.op.shape[:2]):
        if expr_of(size) == -1:
            return None
        same.append((expr_of(size), Size(node.inputs[0], axis)))
    return [Guard(left, "==", right, True) for left, right in same if left != right]
