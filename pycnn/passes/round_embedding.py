"""Embedded time steps that are cast to the graph's dtype come in it from the kernel."""

from __future__ import annotations

import torch

from pycnn import ops

from ..ir import Graph, Node, Ref, TimestepEmbedding, Torch
from .rewrite import Rewriter


def round_embedding(graph: Graph) -> Graph:
    """A network in bf16 embeds its steps in fp32, as torch does, and rounds them once.

    %1 = timestep_embedding(%0) by torch; %2 = to(%1; bfloat16) by torch   =>   %2 = timestep_embedding(%0; bfloat16)
    """
    rewriter = Rewriter(graph, "round_embedding")
    for node in graph.nodes:
        made = rewriter.producers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if made is None or not isinstance(made.op, Torch) or not _casts(node, graph):
            continue
        if made.op.func is not ops.timestep_embedding or made.op.args[0] != Ref(0):
            continue
        width = made.op.args[1] if len(made.op.args) > 1 else made.op.kwargs["width"]
        first, shift = (made.op.kwargs.get(name, 0) for name in ("cosine_first", "shift"))
        dtypes = graph.dtypes[made.inputs[0]], graph.dtypes[node.outputs[0]]
        op = TimestepEmbedding(width, bool(first), float(shift), *dtypes)
        rewriter.put(node, Node(op, made.inputs, node.outputs, node.path))
    return rewriter.done()


def _casts(node: Node, graph: Graph) -> bool:
    """Whether the node does nothing but cast to bf16."""
    op, target = node.op, torch.bfloat16
    if not isinstance(op, Torch) or op.func is not torch.Tensor.to or op.mutates:
        return False
    asked = (*op.args[1:], *op.kwargs.values())
    return asked == (target,) and graph.dtypes[node.outputs[0]] == target
