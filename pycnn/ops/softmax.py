"""Softmax over the last dimension, or over the channels of a channels_last map."""

from __future__ import annotations

import torch
from torch import Tensor

from pycnn.ops import _torch


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """``y = exp(x - max) / sum(exp(x - max))`` along `dim`.

    Equivalent to: ``torch.softmax(x, dim)``

    Args:
        x: any shape but a scalar. fp32 on the CPU runs our kernel where `dim` is the last dimension, or the channels of
            a channels_last map; anything else, and a call that needs a gradient, runs torch's op.
        dim: counted from the end if negative.

    Returns: a tensor of x's shape, contiguous.

    Raises:
        TypeError: x is not a tensor.
        ValueError: x has no dimension `dim`; the message has the values.
    """
    _torch.check_tensor("softmax", "x", x)
    if not isinstance(dim, int) or not -x.dim() <= dim < x.dim():
        raise ValueError(f"softmax: dim={dim!r} is none of x's {x.dim()} dimensions")
    of_pixels = x.dim() == 4 and dim % 4 == 1 and _torch.channels_last(x)
    if (dim % x.dim() != x.dim() - 1 and not of_pixels) or _torch.falls_back("softmax", x):
        return torch.softmax(x, dim)
    rows = x.permute(0, 2, 3, 1) if of_pixels else x
    y: Tensor = torch.ops.pycnn.softmax.default(rows, "")
    return y.permute(0, 3, 1, 2).contiguous() if of_pixels else y


def _raw_reference(x: Tensor, kernel: str) -> Tensor:
    return torch.softmax(x, -1)


def _fake(x: Tensor, kernel: str) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


_torch.register("softmax", _fake, _raw_reference, tensors=1)
