"""Fully connected layer with bias, residual and activation in one pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act

_NAMES = {code: name for name, code in ACTS.items()}


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    act: str,
    act_param: float,
) -> Tensor:
    """The torch composition."""
    y = F.linear(x, weight, bias)
    return apply_act(y if residual is None else y + residual, act, act_param)


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    act: str = "none",
    act_param: float = LEAKY_SLOPE,
    residual: Tensor | None = None,
) -> Tensor:
    """Linear map of the last dimension with a fused epilogue.

    ``y = act(x weight^T + bias + residual)``

    Equivalent to: ``act(F.linear(x, weight, bias) + residual)``

    Args:
        x: [..., c]. fp32 on the CPU runs our kernel; anything else, and a call that needs a gradient,
            runs the torch composition above.
        weight: [k, c], same dtype and device as x.
        bias: [k] or None.
        act, act_param: as in :func:`pycnn.ops.conv2d`.
        residual: [..., k] or None.

    Returns: [..., k], contiguous.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: shapes do not fit, or the activation is unknown; the message has the values.
    """
    _torch.check_tensor("linear", "x", x)
    _torch.check_tensor("linear", "weight", weight, (2,))
    _torch.check_same("linear", x, weight=weight, bias=bias, residual=residual)
    code = act_code("linear", act)
    k, c = weight.shape
    if x.dim() == 0 or x.shape[-1] != c:
        raise ValueError(f"linear: weight takes {c} features, x has shape {tuple(x.shape)}")
    if bias is not None and tuple(bias.shape) != (k,):
        raise ValueError(f"linear: bias has shape {tuple(bias.shape)}, expected ({k},)")
    shape = (*x.shape[:-1], k)
    if residual is not None and tuple(residual.shape) != shape:
        raise ValueError(f"linear: residual has shape {tuple(residual.shape)}, the output {shape}")
    if _torch.falls_back("linear", x, weight, bias, residual) or weight.numel() == 0:
        return reference(x, weight, bias, residual, act, act_param)
    r = None if residual is None else residual.reshape(-1, k)
    y: Tensor = torch.ops.pycnn.linear.default(
        x.reshape(-1, c), weight, bias, r, code, act_param, ""
    )
    return y.view(shape)


def _raw_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    return reference(x, weight, bias, residual, _NAMES[act], act_param)


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    if weight.shape[1] != x.shape[1]:
        raise ValueError(f"linear: weight takes {weight.shape[1]} features, x has {x.shape[1]}")
    return x.new_empty((x.shape[0], weight.shape[0]))


_torch.register("linear", _fake, _raw_reference, tensors=4)
