"""Remove nodes that nothing uses."""

from __future__ import annotations

from ..ir import Graph, Node, is_effect, sized_values


def dead_code(graph: Graph) -> Graph:
    """A node stays if an output, a size or a later node needs it, or if it has an effect (random numbers, buffers).

    %1 = conv2d(%0); %2 = relu(%0); return %2   =>   %2 = relu(%0); return %2
    """
    needed = {*graph.output_values(), *sized_values(graph)}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if is_effect(node) or needed & set(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return graph.replace(nodes=tuple(reversed(kept)))
