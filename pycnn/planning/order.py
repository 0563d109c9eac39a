"""An order of a segment's nodes in which less is alive at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pycnn.ir import Node, Shapes
from pycnn.planning.segments import Segment


def by_liveness(segment: Segment, shapes: Shapes) -> Segment:
    """The nodes so that each next one, of those whose inputs are there, adds least to what is alive.

    Values are made once and never changed: any order in which inputs come first computes the same.
    """
    nodes = segment.nodes
    made = {v: i for i, node in enumerate(nodes) for v in node.outputs}
    missing = [{made[v] for v in node.inputs if v in made} for node in nodes]
    readers: dict[int, set[int]] = {}
    for i, node in enumerate(nodes):
        for v in node.inputs:
            readers.setdefault(v, set()).add(i)
    for v in segment.outputs:
        readers.setdefault(v, set()).add(-1)  # alive to the end
    ready = [i for i, inputs in enumerate(missing) if not inputs]
    order: list[int] = []
    while ready:
        at = min(ready, key=lambda i: (_added(nodes[i], i, readers, made, shapes), i))
        ready.remove(at)
        order.append(at)
        for v in nodes[at].inputs:
            readers[v].discard(at)
        for i, inputs in enumerate(missing):
            if at in inputs:
                inputs.discard(at)
                if not inputs:
                    ready.append(i)
    return replace(segment, nodes=tuple(nodes[i] for i in order))


def _added(
    node: Node, at: int, readers: dict[int, set[int]], made: dict[int, int], shapes: Shapes
) -> int:
    """Elements alive after the node more than before it."""
    freed = [v for v in dict.fromkeys(node.inputs) if v in made and readers[v] == {at}]
    return _elements(node.outputs, shapes) - _elements(freed, shapes)


def _elements(values: Sequence[int], shapes: Shapes) -> int:
    return sum(math.prod(shapes[v]) for v in values)
