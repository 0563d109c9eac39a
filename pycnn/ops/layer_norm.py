"""Layer norm over channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch


def reference(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """The torch composition, over the last dimension."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    channels_first: bool = False,
) -> Tensor:
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``, mean and biased variance over the channels.

    Equivalent to: ``F.layer_norm(x, x.shape[-1:], weight, bias, eps)``; with ``channels_first``
    ``F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weight, bias, eps).permute(0, 3, 1, 2)``, as
    torchvision's LayerNorm2d.

    Args:
        x: [..., c]; [n, c, h, w] with ``channels_first``. fp32 on the CPU runs our kernel; anything else,
            and a call that needs a gradient, runs the torch composition above. Rows at one distance
            (channels_last maps with ``channels_first``, channel slices) are read where they lie.
        weight, bias: [c] each, or None for 1 and 0; same dtype and device as x.
        eps: added to the variance.

    Returns: a tensor of x's shape: contiguous, or pixels of adjacent channels with ``channels_first``.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: x is a scalar or, with ``channels_first``, has not 4 dimensions; weight or bias is
            not [c]; the message has the shapes.
    """
    _torch.check_tensor("layer_norm", "x", x, (4,) if channels_first else ())
    _torch.check_same("layer_norm", x, weight=weight, bias=bias)
    if x.dim() == 0:
        raise ValueError("layer_norm: x has no dimension to take the mean over")
    rows = x.permute(0, 2, 3, 1) if channels_first else x
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != rows.shape[-1:]:
            raise ValueError(
                f"layer_norm: {name} has shape {tuple(t.shape)}, x has {rows.shape[-1]} channels"
            )
    if _torch.falls_back("layer_norm", x, weight, bias):
        y = reference(rows, weight, bias, eps)
    else:
        y = torch.ops.pycnn.layer_norm.default(rows, weight, bias, eps, "")
    return y.permute(0, 3, 1, 2) if channels_first else y


def _raw_reference(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kernel: str
) -> Tensor:
    return reference(x, weight, bias, eps)


def _fake(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, kernel: str) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


_torch.register("layer_norm", _fake, _raw_reference, tensors=3)
