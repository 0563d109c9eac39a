"""Programs of torch.export as modules."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

_aten = torch.ops.aten


def module_of(program: ExportedProgram) -> fx.GraphModule:
    """The program as a module in eval mode over the program's own parameters and buffers.

    It checks the sizes it was exported for at each call. `train()` raises: what training does is no longer in it.
    """
    module = program.module()
    for each in module.modules():
        each.training = False
        # They look at the structure of the arguments, which the graph does too.
        each._forward_pre_hooks.clear()
        each._forward_hooks.clear()
    _undo_decompositions(module)
    return module


def _undo_decompositions(module: fx.GraphModule) -> None:
    """Write what run_decompositions() made of batch norms, max pools, layer norms and linear layers as the one op.

    batch_norm(x) as a tuple, its first entry used  =>  batch_norm(x)
    addmm(bias, x, permute(weight, [1, 0]))  =>  linear(x, weight, bias)
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _FIRST_OF:
            picks = list(node.users)
            if all(p.target is operator.getitem and p.args[1] == 0 for p in picks):
                with graph.inserting_before(node):
                    found = _FIRST_OF[node.target](graph, *node.args)
                found.meta = dict(node.meta)
                for pick in picks:
                    pick.replace_all_uses_with(found)
                    graph.erase_node(pick)
                graph.erase_node(node)
        elif node.target is _aten.addmm.default and not node.kwargs:
            bias, x, weight = node.args
            if _is_transposed(weight):
                with graph.inserting_before(node):
                    args = (x, weight.args[0], bias)
                    found = graph.call_function(_aten.linear.default, args)
                found.meta = dict(node.meta)
                node.replace_all_uses_with(found)
                graph.erase_node(node)
                if not weight.users:
                    graph.erase_node(weight)
    module.recompile()


def _is_transposed(weight: fx.Node) -> bool:
    if weight.target is _aten.t.default:
        return True
    return weight.target is _aten.permute.default and weight.args[1] == [1, 0]


def _batch_norm(graph: fx.Graph, *args: Any) -> fx.Node:
    *tensors, momentum, eps = args
    settings = (False, momentum, eps, False)
    return graph.call_function(_aten.batch_norm.default, (*tensors, *settings))


def _same_arguments(target: Callable[..., object]) -> Callable[..., fx.Node]:
    return lambda graph, *args: graph.call_function(target, args)


_FIRST_OF: dict[object, Callable[..., fx.Node]] = {
    _aten._native_batch_norm_legit_no_training.default: _batch_norm,
    _aten.max_pool2d_with_indices.default: _same_arguments(_aten.max_pool2d.default),
    _aten.native_layer_norm.default: _same_arguments(_aten.layer_norm.default),
}
