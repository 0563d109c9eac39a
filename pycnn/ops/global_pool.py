"""Mean of a map over its pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from pycnn.ops import _torch


def reference(x: Tensor, keepdim: bool = True) -> Tensor:
    """The torch composition."""
    return x.mean((-2, -1), keepdim=keepdim)


def global_avg_pool2d(x: Tensor, keepdim: bool = True) -> Tensor:
    """Mean of each channel over the map.

    ``y[n,c] = sum over y,x of x[n,c,y,x] / (h * w)``

    Equivalent to: ``x.mean((-2, -1), keepdim=keepdim)``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 maps on the CPU run our kernel; anything else, and a call that
            needs a gradient, runs the torch composition above.
        keepdim: keep the two reduced dimensions, with size 1.

    Returns: [n, c, 1, 1] or [n, c] (without n for an unbatched x), contiguous.

    Raises:
        TypeError: x is not a tensor.
        ValueError: it does not have 3 or 4 dimensions; the message has its shape.
    """
    _torch.check_tensor("global_avg_pool2d", "x", x, (3, 4))
    if x.dim() == 3:
        _torch.log.debug("global_avg_pool2d: torch's own op runs: x is unbatched")
        return reference(x, keepdim)
    if _torch.falls_back("global_avg_pool2d", x):
        return reference(x, keepdim)
    y: Tensor = torch.ops.pycnn.global_pool.default(x, "").flatten(1)
    return y[:, :, None, None] if keepdim else y


def _raw_reference(x: Tensor, kernel: str) -> Tensor:
    return reference(x)


def _fake(x: Tensor, kernel: str) -> Tensor:
    return _torch.empty_map(x, (*x.shape[:2], 1, 1), _torch.channels_last(x))


_torch.register("global_pool", _fake, _raw_reference, tensors=1)
