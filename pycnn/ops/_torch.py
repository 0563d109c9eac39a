"""What every op shares on torch's side: when the kernel runs, fake outputs, the autograd formula."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from pycnn import _C as _C  # registers the schemas; must precede every register_* below

log = logging.getLogger("pycnn.ops")


def why_not_kernel(*tensors: Tensor | None) -> str | None:
    """Why this call goes through the torch composition instead of a kernel, or None."""
    given = [t for t in tensors if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return "a gradient is needed"
    for t in given:
        if type(t) is not Tensor and not isinstance(t, torch.nn.Parameter):
            return f"{type(t).__name__} is a tensor subclass"
        if t.device.type not in ("cpu", "meta"):
            return f"no kernel for device {t.device.type}"
        if t.dtype != torch.float32:
            return f"no kernel for {t.dtype}"
        if t.layout != torch.strided:
            return f"no kernel for layout {t.layout}"
    if torch._C._len_torch_function_stack():
        return "a torch function mode is watching"  # capture must see torch's own functions
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if torch.compiler.is_exporting():
        return "the model is being exported"
    return None


def falls_back(op: str, *tensors: Tensor | None) -> bool:
    """True, and a DEBUG record saying why, if the call must go through the torch composition."""
    reason = why_not_kernel(*tensors)
    if reason is not None:
        log.debug("%s: torch's own op runs: %s", op, reason)
    return reason is not None


def check_tensor(op: str, name: str, value: object, ranks: Sequence[int] = ()) -> None:
    """TypeError unless value is a Tensor; ValueError unless its rank is one of ``ranks``."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a Tensor, got {type(value).__name__}")
    if ranks and value.dim() not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ValueError(
            f"{op}: {name} must have {wanted} dimensions, got shape {tuple(value.shape)}"
        )


def check_same(op: str, x: Tensor, **others: Tensor | None) -> None:
    """TypeError/ValueError unless all tensors share x's dtype and device."""
    for name, t in others.items():
        if t is None:
            continue
        check_tensor(op, name, t)
        if t.dtype != x.dtype:
            raise TypeError(f"{op}: x is {x.dtype}, {name} is {t.dtype}")
        if t.device != x.device:
            raise ValueError(f"{op}: x is on {x.device}, {name} on {t.device}")


def channels_last(*tensors: Tensor) -> bool:
    """Whether torch's CPU kernels answer these inputs in channels_last."""
    return any(t.dim() == 4 and suggest_memory_format(t) == torch.channels_last for t in tensors)


def empty_map(x: Tensor, shape: Sequence[int], in_channels_last: bool) -> Tensor:
    """The fake output: same strides as the kernel's."""
    fmt = torch.channels_last if in_channels_last else torch.contiguous_format
    return torch.empty(tuple(shape), dtype=x.dtype, device=x.device, memory_format=fmt)


def register(
    name: str, fake: Callable[..., Tensor], reference: Callable[..., Tensor], tensors: int
) -> None:
    """Give ``pycnn::name`` its fake kernel and an autograd formula.

    The first ``tensors`` arguments of the op are tensors (or None); ``reference`` takes the op's
    arguments and is the torch composition. Backward recomputes it under grad, so gradients are torch's.
    """
    torch.library.register_fake(f"pycnn::{name}", fake)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:tensors])
        ctx.rest = inputs[tensors:]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = [i for i in range(tensors) if ctx.needs_input_grad[i]]
        with torch.enable_grad():
            saved = [None if t is None else t.detach() for t in ctx.saved_tensors]
            leaves = [saved[i] for i in wanted]
            for leaf in leaves:
                assert leaf is not None
                leaf.requires_grad_()
            y = reference(*saved, *ctx.rest)
        found = torch.autograd.grad(y, [leaf for leaf in leaves if leaf is not None], grad)
        grads: list[Tensor | None] = [None] * (tensors + len(ctx.rest))
        for i, g in zip(wanted, found, strict=True):
            grads[i] = g
        return tuple(grads)

    torch.library.register_autograd(f"pycnn::{name}", backward, setup_context=setup_context)
