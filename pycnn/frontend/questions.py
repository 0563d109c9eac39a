"""What model code asks a tensor, answered without losing where the answer came from.

Sizes come back as Dims, the device as the real one; what a meta tensor cannot answer refuses the capture.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ir import Dim
from .calls import CaptureError
from .table import attribute
from .trace import Trace

Question = Callable[..., Any]


def _size(trace: Trace, x: Tensor, dim: int | None = None) -> Any:
    sizes = trace.sizes(x)
    return sizes if dim is None else sizes[dim]


def _numel(trace: Trace, x: Tensor) -> int:
    total: int = 1
    for size in trace.sizes(x):
        total = total * size
    return total


def _len(trace: Trace, x: Tensor) -> int:
    if x.dim() == 0:
        raise TypeError("len() of a 0-d tensor")
    first = trace.sizes(x)[0]
    return first.pin() if isinstance(first, Dim) else first


def _layout(method: Question) -> Question:
    def answer(trace: Trace, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        trace.layout_read = True
        return method(x, *args, **kwargs)

    return answer


def _refuse(name: str) -> Question:
    def answer(trace: Trace, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise CaptureError(
            f"{trace.where()}Tensor.{name} looks at memory, which capture does not have"
        )

    return answer


_T = torch.Tensor
QUESTIONS: dict[Any, Question] = {
    attribute("shape"): _size,
    _T.size: _size,
    _T.numel: _numel,
    _T.nelement: _numel,
    torch.numel: _numel,
    _T.__len__: _len,
    _T.__hash__: lambda trace, x: id(x),
    attribute("device"): lambda trace, x: trace.device,
    _T.get_device: lambda trace, x: -1 if trace.device.index is None else trace.device.index,
    attribute("is_meta"): lambda trace, x: False,
    attribute("is_cpu"): lambda trace, x: trace.device.type == "cpu",
    attribute("is_cuda"): lambda trace, x: trace.device.type == "cuda",
    _T.stride: _layout(_T.stride),
    _T.is_contiguous: _layout(_T.is_contiguous),
    inspect.getattr_static(_T, "data").__set__: _refuse("data"),
    _T.data_ptr: _refuse("data_ptr"),
    _T.untyped_storage: _refuse("untyped_storage"),
    _T.storage_offset: _layout(_T.storage_offset),
    attribute("grad"): lambda trace, x: x.grad,
    attribute("requires_grad"): lambda trace, x: x.requires_grad,
}


def ask(trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """(True, answer) if `func` is a question about its first argument, else (False, None)."""
    if not is_question(func, args):
        return False, None
    return True, QUESTIONS[func](trace, *args, **kwargs)


def is_question(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the call is answered without torch."""
    return bool(args) and func in QUESTIONS
