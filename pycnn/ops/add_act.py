"""Sum of two tensors and an activation in one pass: the end of a residual block."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import compute_elementwise_output_strides

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act
from pycnn.ops.elementwise import empty_result

_NAMES = {code: name for name, code in ACTS.items()}


def reference(x: Tensor, y: Tensor, act: str, act_param: float) -> Tensor:
    """The torch composition."""
    return apply_act(x + y, act, act_param)


def add_act(x: Tensor, y: Tensor, *, act: str = "none", act_param: float = LEAKY_SLOPE) -> Tensor:
    """``act(x + y)``

    Equivalent to: ``act(x + y)``

    Args:
        x, y: any shape, the same for both, same dtype and device. fp32 on the CPU runs our kernel;
            anything else, shapes to broadcast, and a call that needs a gradient, run the torch
            composition above.
        act, act_param: as in :func:`pycnn.ops.conv2d`.

    Returns: a tensor of x's shape, with the strides torch's addition gives it.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: shapes do not broadcast, or the activation is unknown; the message has the values.
    """
    _torch.check_tensor("add_act", "x", x)
    _torch.check_same("add_act", x, y=y)
    code = act_code("add_act", act)
    if x.shape != y.shape:
        ends = zip(reversed(x.shape), reversed(y.shape), strict=False)
        if any(a != b and 1 not in (a, b) for a, b in ends):
            raise ValueError(
                f"add_act: x has shape {tuple(x.shape)}, y {tuple(y.shape)}, and they do not broadcast"
            )
        _torch.log.debug("add_act: torch's own op runs: shapes are to be broadcast")
        return reference(x, y, act, act_param)
    if _torch.falls_back("add_act", x, y):
        return reference(x, y, act, act_param)
    out: Tensor = torch.ops.pycnn.add_act.default(_in_output_order(x, y), y, code, act_param, "")
    return out


def _in_output_order(x: Tensor, y: Tensor) -> Tensor:
    """x, or its copy in the memory order torch would give ``x + y``: the kernel follows its first input."""
    if x.stride() == y.stride() or (x.is_contiguous() and y.is_contiguous()):
        return x
    last = torch.channels_last
    if x.dim() == 4 and x.is_contiguous(memory_format=last) and y.is_contiguous(memory_format=last):
        return x
    strides = compute_elementwise_output_strides(x, y)
    if empty_result(x).stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def _raw_reference(x: Tensor, residual: Tensor, act: int, act_param: float, kernel: str) -> Tensor:
    return reference(x, residual, _NAMES[act], act_param)


def _fake(x: Tensor, residual: Tensor, act: int, act_param: float, kernel: str) -> Tensor:
    return empty_result(x)


_torch.register("add_act", _fake, _raw_reference, tensors=2)
