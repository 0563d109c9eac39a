"""Local response norm, AlexNet's of 2012."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch


def local_response_norm(
    x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``y[c] = x[c] / (k + alpha / size * sum_j x[j]^2)^beta``, j the `size` channels from c - size // 2 on.

    "ImageNet Classification with Deep Convolutional Neural Networks", Krizhevsky, Sutskever, Hinton 2012.

    Equivalent to: ``F.local_response_norm(x, size, alpha, beta, k)``

    Args:
        x: [n, c, ...]. fp32 maps on the CPU run our kernel; anything else, and a call that needs a gradient, runs
            torch's op.
        size: channels of a window; those outside x count as zero.
        alpha, beta, k: as in the formula.

    Returns: a tensor of x's shape, channels_last if x is.

    Raises:
        TypeError: x is not a tensor.
        ValueError: x has fewer than 3 dimensions, or size is not positive; the message has the values.
    """
    _torch.check_tensor("local_response_norm", "x", x)
    if x.dim() < 3:
        raise ValueError(
            f"local_response_norm: x must have at least 3 dimensions, got {tuple(x.shape)}"
        )
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"local_response_norm: size={size!r} must be a positive integer")
    if x.dim() != 4 or _torch.falls_back("local_response_norm", x):
        return F.local_response_norm(x, size, alpha, beta, k)
    rows = x.permute(0, 2, 3, 1)
    y: Tensor = torch.ops.pycnn.local_response_norm.default(rows, size, alpha, beta, k, "")
    y = y.permute(0, 3, 1, 2)
    return y if _torch.channels_last(x) else y.contiguous()


def _raw_reference(
    x: Tensor, size: int, alpha: float, beta: float, k: float, kernel: str
) -> Tensor:
    rows = x.reshape(-1, x.shape[-1], 1)
    return F.local_response_norm(rows, size, alpha, beta, k).reshape(x.shape)


def _fake(x: Tensor, size: int, alpha: float, beta: float, k: float, kernel: str) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


_torch.register("local_response_norm", _fake, _raw_reference, tensors=1)
