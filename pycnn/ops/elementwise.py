"""An activation on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act

_NAMES = {code: name for name, code in ACTS.items()}


def reference(x: Tensor, act: str, act_param: float) -> Tensor:
    """The torch composition."""
    return apply_act(x, act, act_param)


def elementwise(x: Tensor, act: str, act_param: float = LEAKY_SLOPE) -> Tensor:
    """``y = act(x)``

    Equivalent to: ``F.relu(x)``, ``F.silu(x)``, ... as ``act`` says.

    Args:
        x: any shape. fp32 on the CPU runs our kernel; anything else, and a call that needs a gradient,
            runs torch's op.
        act, act_param: as in :func:`pycnn.ops.conv2d`. "none" returns x itself.

    Returns: a tensor of x's shape, with the strides torch's own op gives it.

    Raises:
        TypeError: x is not a tensor.
        ValueError: the activation is unknown; the message lists the choices.
    """
    _torch.check_tensor("elementwise", "x", x)
    code = act_code("elementwise", act)
    if act == "none" or _torch.falls_back("elementwise", x):
        return reference(x, act, act_param)
    y: Tensor = torch.ops.pycnn.elementwise.default(x, code, act_param, "")
    return y


def empty_result(x: Tensor) -> Tensor:
    """An uninitialised tensor with the strides torch's elementwise CPU kernels give the result of x alone.

    torch's fake tensors keep the strides of dimensions of size 1; its kernels do not.
    """
    if x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return _torch.empty_map(x, x.shape, True)
    return torch.empty_like(x)


def _raw_reference(x: Tensor, act: int, act_param: float, kernel: str) -> Tensor:
    return reference(x, _NAMES[act], act_param)


def _fake(x: Tensor, act: int, act_param: float, kernel: str) -> Tensor:
    return empty_result(x)


_torch.register("elementwise", _fake, _raw_reference, tensors=1)
