"""The watch over what a graph was made from: tensors, submodules, attributes, hooks."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from pycnn import _C
from pycnn.ir import Graph

_TYPES = (Tensor, nn.Parameter)
_PLAIN = (bool, int, float, str, tuple, type(None), torch.dtype, torch.device)


def watch(model: nn.Module, graph: Graph) -> tuple[_C.Guard, list[frozenset[str] | None]]:
    """Watch every tensor the graph reads, every buffer, and the structure of the model.

    A training step writes running statistics without counting a version; num_batches_tracked beside them does count, so
    a change of any buffer stands for all buffers of its module.
    """
    learn_tensor_words()
    guard, watched = watch_structure(model)
    buffers = {id(module._buffers) for module in model.modules()}
    read: dict[
        int, set[str]
    ] = {}  # id of a holder dict -> names of the tensors the graph reads from it
    for source in graph.tensors:
        for holder, key in graph.tensors.slots(source):
            read.setdefault(id(holder), set()).add(source.name)
            if id(holder) not in buffers:
                guard.watch_tensor(holder, key, holder[key])
                watched.append(frozenset([source.name]))
    for module in model.modules():
        for key, buffer in module._buffers.items():
            if id(module._buffers) in read and buffer is not None:
                guard.watch_tensor(module._buffers, key, buffer)
                watched.append(frozenset(read[id(module._buffers)]))
    return guard, watched


@functools.cache
def learn_tensor_words() -> bool:
    """Whether tensors may be watched without torch's getters: found where this torch keeps a version, an address and an
    offset, by samples in which they are known and no other number is the same."""
    with torch.inference_mode(False), torch.no_grad():
        samples = [
            torch.zeros(100),
            torch.zeros(5000)[37:60],
            torch.frombuffer(bytearray(400), dtype=torch.float32)[11:],
            torch.zeros(3, 4),
        ]
        samples[3].data = torch.zeros(3, 4)
        for sample, version in zip(samples, (300, 70, 41, 5), strict=True):
            while sample._version < version:
                sample.zero_()
        return _C.learn_tensor_words(samples, _TYPES)


def watch_structure(
    model: nn.Module, settings: bool = True
) -> tuple[_C.Guard, list[frozenset[str] | None]]:
    """Watch every submodule, that none is added, every training flag, and that hooks, which must run at each call, are
    neither set nor taken off. `settings`: also every public attribute that is a plain value or can be called (`stride`,
    `eps`), and that no attribute is added; not for a model that runs as it is and may count its calls."""
    guard = _C.Guard()
    count = 0
    for module in model.modules():
        own = module.__dict__
        items = [
            (own, k, v) for k, v in own.items() if k == "training" or settings and _is_setting(k, v)
        ]
        items += [(module._modules, key, child) for key, child in module._modules.items()]
        for item in items:
            guard.watch_item(*item)
        sized: list[dict[Any, Any]] = [
            module._modules,
            module._forward_hooks,
            module._forward_pre_hooks,
            *([own] if settings else []),
        ]
        for holder in sized:
            guard.watch_size(holder)
        count += len(items) + len(sized)
    return guard, [None] * count


def _is_setting(key: str, value: Any) -> bool:
    return key[:1] != "_" and (isinstance(value, _PLAIN) or callable(value))


def kinds_of(graph: Graph) -> list[tuple[Any, ...] | None]:
    """Type, shape, strides, dtype and device of every tensor the graph reads; None where it is gone."""
    kinds: list[tuple[Any, ...] | None] = []
    for source in graph.tensors:
        for holder, key in graph.tensors.slots(source):
            t = holder.get(key)
            kinds.append(
                (type(t), t.shape, t.stride(), t.dtype, t.device) if isinstance(t, Tensor) else None
            )
    return kinds
