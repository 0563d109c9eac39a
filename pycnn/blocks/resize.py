"""Resampling of maps inside networks."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from pycnn import ops
from pycnn.blocks.fused import layer_by_layer


def resize(x: Tensor, size: tuple[int, int], mode: Literal["nearest", "bilinear"]) -> Tensor:
    """x [n, c, h, w] at another size: [n, c, *size]; pixels are squares, corners not aligned.

    Equivalent to: `F.interpolate(x, size, mode=mode, align_corners=False)`
    """
    align_corners = None if mode == "nearest" else False
    if layer_by_layer():
        return F.interpolate(x, size, mode=mode, align_corners=align_corners)
    return ops.upsample(x, size, mode=mode, align_corners=align_corners)


def image_size(x: Tensor) -> tuple[int, int]:
    """(h, w) of x [n, c, h, w]."""
    return x.shape[2], x.shape[3]
