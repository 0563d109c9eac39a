"""The watch over what a graph was made from: tensors, submodules, flags, hooks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pycnn import _C
from pycnn.ir import Graph


def watch(model: nn.Module, graph: Graph) -> tuple[_C.Guard, list[frozenset[str] | None]]:
    """Watch every tensor the graph reads, every buffer, every submodule entry, every training flag, and that no module
    has hooks, which must run at each call.

    A training step writes running statistics without counting a version; num_batches_tracked beside them does count, so
    a change of any buffer stands for all buffers of its module.
    """
    guard, watched = watch_structure(model)
    read: dict[
        int, set[str]
    ] = {}  # id of a holder dict -> names of the tensors the graph reads from it
    for source in graph.tensors:
        for holder, key in graph.tensors.slots(source):
            read.setdefault(id(holder), set()).add(source.name)
            guard.watch_tensor(holder, key, holder[key])
            watched.append(frozenset([source.name]))
    for module in model.modules():
        for key, buffer in module._buffers.items():
            if id(module._buffers) in read and buffer is not None:
                guard.watch_tensor(module._buffers, key, buffer)
                watched.append(frozenset(read[id(module._buffers)]))
    return guard, watched


def watch_structure(model: nn.Module) -> tuple[_C.Guard, list[frozenset[str] | None]]:
    """Watch every submodule entry, every training flag, and that modules without hooks get none."""
    guard = _C.Guard()
    count = 0
    for module in model.modules():
        guard.watch_item(module.__dict__, "training", module.training)
        count += 1
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            if not hooks:
                guard.watch_empty(hooks)
                count += 1
        for key, child in module._modules.items():
            guard.watch_item(module._modules, key, child)
            count += 1
    return guard, [None] * count


def kinds_of(graph: Graph) -> list[tuple[Any, ...] | None]:
    """Shape, strides, dtype and device of every tensor the graph reads; None where it is gone."""
    kinds: list[tuple[Any, ...] | None] = []
    for source in graph.tensors:
        for holder, key in graph.tensors.slots(source):
            t = holder.get(key)
            kinds.append(
                (t.shape, t.stride(), t.dtype, t.device) if isinstance(t, Tensor) else None
            )
    return kinds
