"""Cuts a graph into stretches that kernels run and single nodes that torch runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pycnn.ir import MOVES, Concat, Graph, Identity, Node, Op, Shapes, nodes_for
from pycnn.planning.support import why_torch


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes run by one C++ plan; `inputs` come from outside, `outputs` are read outside."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TorchStep:
    """One node that torch runs, and why. `promoted`: in fp32, its results too."""

    node: Node
    reason: str
    promoted: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.node.inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.node.outputs


Item = Segment | TorchStep
_EXACT = (*MOVES, Identity, Concat)  # in any dtype


def split(
    graph: Graph,
    shapes: Shapes,
    dtype: torch.dtype,
    without: tuple[type[Op], ...],
    promoted: frozenset[str] = frozenset(),
) -> tuple[Item, ...]:
    """The graph's nodes in order, as segments and torch steps; kernels are of `dtype`, for all ops but `without`.
    Layers of the modules `promoted` are computed in fp32. Nodes of which only sizes are read need not run."""
    groups: list[list[Node] | TorchStep] = []
    for node in nodes_for(graph, graph.output_values()):
        reason = why_torch(graph, node, shapes, dtype, without)
        if node.path in promoted and not isinstance(node.op, _EXACT):
            groups.append(TorchStep(node, "kept in torch.float32", True))
        elif reason is not None:
            groups.append(TorchStep(node, reason))
        elif groups and isinstance(groups[-1], list):
            groups[-1].append(node)
        else:
            groups.append([node])
    return tuple(
        _segment(graph, groups, i) if isinstance(group, list) else group
        for i, group in enumerate(groups)
    )


def _segment(graph: Graph, groups: list[list[Node] | TorchStep], index: int) -> Segment:
    nodes = groups[index]
    assert isinstance(nodes, list)
    made = {v for node in nodes for v in node.outputs}
    inputs = dict.fromkeys(v for node in nodes for v in node.inputs if v not in made)
    wanted = set(graph.output_values())
    for later in groups[index + 1 :]:
        for node in later if isinstance(later, list) else [later.node]:
            wanted.update(node.inputs)
    outputs = [v for node in nodes for v in node.outputs if v in wanted]
    return Segment(tuple(nodes), tuple(inputs), tuple(outputs))
