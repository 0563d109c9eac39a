"""Remove nodes that nothing uses."""

from __future__ import annotations

from ..ir import Graph, nodes_for, sized_values


def dead_code(graph: Graph) -> Graph:
    """A node stays if an output, a size or a later node needs it, or if it has an effect (random numbers, buffers).

    %1 = conv2d(%0); %2 = relu(%0); return %2   =>   %2 = relu(%0); return %2
    """
    needed = {*graph.output_values(), *sized_values(graph)}
    return graph.replace(nodes=nodes_for(graph, needed))
