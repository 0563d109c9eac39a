"""What an optimised module is called with: shapes that stand for inputs, and torch looking on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad


def is_shape(value: Any) -> bool:
    """Whether it is a tuple or list of ints."""
    return isinstance(value, (tuple, list)) and all(type(size) is int for size in value)


def filled(value: Any, model: nn.Module) -> Any:
    """An input of that shape as the model's parameters are, or the value itself."""
    if isinstance(value, Tensor):
        return value
    if not is_shape(value):
        raise TypeError(f"warmup: {value!r} is neither a shape nor a tensor")
    if min(value, default=1) < 1:
        raise ValueError(f"warmup: shape {tuple(value)} has no elements")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(tuple(value), dtype=like.dtype, device=like.device)


def torch_watches() -> str:
    """Why torch's own calls are to be seen, by what looks on; "": nothing does."""
    hooks = nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return "autocast is on: torch picks the dtype of every op"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit traces it"
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return "a mode of torch sees every call"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func runs it"
    if forward_ad._current_level >= 0:
        return "forward-mode derivatives are on"
    if any(_is_foreign(hook) for of in hooks for hook in list(of.values())):
        return "a hook of all modules must run at each call"
    return ""


def _is_foreign(hook: Any) -> bool:
    """Whether a hook of all modules is a caller's: a capture, maybe in another thread, sets some of its own."""
    return getattr(hook, "__module__", None) not in (
        "pycnn.frontend.capture",
        "pycnn.summary.record",
    )
