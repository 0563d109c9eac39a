"""Layers on [n, h, w, c] between two permutes become layers on the map [n, c, h, w]: in a plan its pixels lie there."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ..ir import (
    Add,
    Arith,
    Conv2d,
    Elementwise,
    Graph,
    LayerNorm,
    Linear,
    Node,
    Op,
    Permute,
    Source,
    TensorTable,
    Torch,
    derive,
)
from .rewrite import Rewriter

_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # channels last, and first again


def sink_permute(graph: Graph) -> Graph:
    """A permute to channels last moves behind the pixelwise op that reads it, until it meets its inverse.

    %1 = permute(%0; 0 2 3 1); %2 = linear(%1); %3 = permute(%2; 0 3 1 2)
        =>   %4 = conv2d(%0; weight_shape [k, c, 1, 1]), read for %3;  %1, %2 are left for who else reads them
    """
    rewriter = Rewriter(graph, "sink_permute")
    maps: dict[int, int] = {}  # value [n, h, w, c] -> the map it is a permute of
    for node in graph.nodes:
        if isinstance(node.op, Permute):
            (x,), (y,) = node.inputs, node.outputs
            if node.op.dims == _LAST:
                maps[y] = x
            elif node.op.dims == _FIRST and x in maps:
                rewriter.rename(y, maps[x])
                rewriter.put(node)
            continue
        of_maps = bool(node.inputs) and all(v in maps for v in node.inputs)
        op = _on_map(rewriter, node.op) if of_maps else None
        if op is None:
            continue
        (y,) = node.outputs
        made = rewriter.new_map(y)
        maps[y] = made
        moved = Node(op, tuple(maps[v] for v in node.inputs), (made,), node.path)
        rewriter.put(node, moved, Node(Permute(_LAST), (made,), (y,), node.path))
    return rewriter.done()


def _on_map(rewriter: Rewriter, op: Op) -> Op | None:
    """What does to maps what `op` does to them permuted; None: nothing."""
    if isinstance(op, (Add, Elementwise)):
        return op
    if isinstance(op, Arith):
        return _arith_on_map(rewriter.graph.tensors, op)
    if isinstance(op, LayerNorm):
        return replace(op, axis=1) if op.axis == -1 else None
    if isinstance(op, Linear):
        k, c = rewriter.graph.tensors.shape(op.weight)
        return Conv2d(
            op.weight, op.bias, norms=op.norms, act=op.act, has_residual=op.has_residual,
            weight_shape=(k, c, 1, 1),
        )  # fmt: skip
    return None


def _arith_on_map(tensors: TensorTable, op: Arith) -> Op | None:
    """A tensor of the model that goes along has its axes permuted too."""
    other = op.other
    if not isinstance(other, Source):
        return op
    shape = op.other_shape(tensors)
    full = (1,) * (4 - len(shape)) + tuple(shape)
    if math.prod(full) == 1:
        return op
    if op.kind == "prelu":
        return None  # slopes are of axis 1, the rows here
    if math.prod(full) == full[3]:
        return replace(op, other=derive(tensors, Torch(torch.reshape, (other, (full[3], 1, 1)))))
    if full != shape:
        other = derive(tensors, Torch(torch.reshape, (other, full)))
    return replace(op, other=derive(tensors, Torch(torch.permute, (other, _FIRST))))
