"""Running a `Torch` node: its argument template filled in, its tensors collected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .ops import Ref, Torch
from .source import Source

Read = Callable[[Source], torch.Tensor]


def run_torch_op(
    op: Torch, inputs: Sequence[torch.Tensor], read: Read, device: str | None = None
) -> list[torch.Tensor]:
    """The node's output tensors; `op` is resolved (no Dims), `read` gives the tensor of a Source.

    `device` replaces the device arguments of the call (shape inference runs it on "meta").
    """
    written: list[torch.Tensor] = []

    def get(source: Source) -> torch.Tensor:
        tensor = read(source)
        if op.effect:
            written.append(tensor)
        return tensor

    tensors = [t.clone() if i in op.mutates else t for i, t in enumerate(inputs)]
    args = _fill(op.args, tensors, get)
    kwargs = _fill(op.kwargs, tensors, get)
    if device is not None:
        args, kwargs = on_device(op.func, args, kwargs, device)
    mutated = [tensors[i] for i in op.mutates]
    written += mutated
    result = [t for t in tensors_in(op.func(*args, **kwargs)) if all(t is not w for w in written)]
    return [*result, *mutated]


def on_device(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], device: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with every device replaced, and one added for functions that make tensors out of nothing."""
    args = tuple(torch.device(device) if _is_device(a) else a for a in args)
    kwargs = {
        k: torch.device(device) if k == "device" or _is_device(v) else v for k, v in kwargs.items()
    }
    if func in FACTORIES:
        kwargs["device"] = torch.device(device)
    if func in (torch.Tensor.cpu, torch.Tensor.cuda):
        return (args[0],), {}
    return args, kwargs


def tensors_in(result: Any) -> list[torch.Tensor]:
    """The tensors of a torch function's result, through tuples, lists and dicts, in order."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, (tuple, list)):
        return [t for item in result for t in tensors_in(item)]
    return []


def _fill(template: Any, tensors: Sequence[torch.Tensor], read: Read) -> Any:
    if isinstance(template, Ref):
        return tensors[template.index]
    if isinstance(template, Source):
        return read(template)
    if isinstance(template, tuple) and hasattr(template, "_fields"):
        return type(template)(*(_fill(item, tensors, read) for item in template))
    if isinstance(template, torch.Size):
        return template
    if isinstance(template, (tuple, list)):
        return type(template)(_fill(item, tensors, read) for item in template)
    if isinstance(template, dict):
        return {key: _fill(item, tensors, read) for key, item in template.items()}
    if isinstance(template, slice):
        return slice(
            *(_fill(item, tensors, read) for item in (template.start, template.stop, template.step))
        )
    return template


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value in ("cpu", "cuda"))


_FACTORIES = """
arange as_tensor empty empty_strided eye full hann_window linspace logspace ones rand randint randn randperm range
scalar_tensor tensor tril_indices triu_indices zeros
"""
FACTORIES: frozenset[Callable[..., Any]] = frozenset(
    map(torch.__dict__.__getitem__, _FACTORIES.split())
)
