"""Arithmetic repeats its operands by itself: what an expand made of one is read before it."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Add, Arith, Expand, Graph
from .rewrite import Rewriter


def drop_expand(graph: Graph) -> Graph:
    """The other operand must have all entries of the result.

    %1 = expand(%0; 2 64 7 7); %2 = arith(%x; mul, %1)   =>   %2 = arith(%x; mul, %0)
    """
    rewriter = Rewriter(graph, "drop_expand")
    if not any(isinstance(node.op, Expand) for node in graph.nodes):
        return graph
    shapes = rewriter.shapes()
    for node in graph.nodes:
        plain = isinstance(node.op, (Add, Arith)) and len(node.inputs) == 2
        if not plain or getattr(node.op, "other", None) is not None:
            continue
        inputs, out = list(node.inputs), shapes[node.outputs[0]]
        for at in (1, 0):
            made = rewriter.producers.get(inputs[at])
            if made is not None and isinstance(made.op, Expand) and shapes[inputs[1 - at]] == out:
                inputs[at] = made.inputs[0]
                break
        if inputs == list(node.inputs):
            continue
        op = Arith("add", rank=len(out), act=node.op.act) if isinstance(node.op, Add) else node.op
        rewriter.put(node, replace(node, op=op, inputs=tuple(inputs)))
    return rewriter.done()
