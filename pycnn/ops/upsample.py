"""Maps at another size, by nearest pixel or bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch

# UpsampleMode in csrc/ops/upsample/upsample.h
MODES = {("nearest", False): 0, ("bilinear", False): 1, ("bilinear", True): 2}


def output_size(
    x: Sequence[int], size: int | Sequence[int] | None, factors: tuple[float, float] | None
) -> tuple[int, int]:
    """(oh, ow) for x [..., h, w], from the one of `size` and `factors` that is given."""
    if factors is not None:
        return int(x[-2] * factors[0]), int(x[-1] * factors[1])
    assert size is not None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _factors(scale_factor: float | Sequence[float]) -> tuple[float, float]:
    values = scale_factor if isinstance(scale_factor, Sequence) else (scale_factor,)
    if len(values) not in (1, 2) or any(
        not isinstance(v, (int, float)) or not v > 0 for v in values
    ):
        raise ValueError(
            f"upsample: scale_factor={scale_factor!r} must be one or two positive numbers"
        )
    return float(values[0]), float(values[-1])


def _check(
    x: Tensor,
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool | None,
) -> tuple[float, float] | None:
    _torch.check_tensor("upsample", "x", x, (4,))
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"upsample: mode={mode!r} is neither 'nearest' nor 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"upsample: align_corners={align_corners} is for mode='bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"upsample: one of size={size!r} and scale_factor={scale_factor!r} must be given"
        )
    factors = None if scale_factor is None else _factors(scale_factor)
    values = () if size is None else (size,) if isinstance(size, int) else tuple(size)
    if size is not None and (
        len(values) not in (1, 2) or any(not isinstance(v, int) or v < 1 for v in values)
    ):
        raise ValueError(f"upsample: size={size!r} must be one or two positive integers")
    if 0 in x.shape[1:] or min(output_size(x.shape, size, factors)) < 1:
        raise ValueError(
            f"upsample: x of shape {tuple(x.shape)} has no pixels, or the result has none"
        )
    return factors


def upsample(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """x at another size, larger or smaller.

    ``nearest``: ``y[n,c,oy,ox] = x[n, c, floor(oy * h / oh), floor(ox * w / ow)]``

    ``bilinear``: a mean of the 2 x 2 pixels around ``(oy + 0.5) * h / oh - 0.5``, weighted by their distance;
    with align_corners around ``oy * (h - 1) / (oh - 1)``.

    Equivalent to: ``F.interpolate(x, size, scale_factor, mode, align_corners)``

    Args:
        x: [n, c, h, w]. fp32 maps on the CPU run our kernel; anything else, and a call that needs a
            gradient, runs torch's op.
        size: (oh, ow), or one number for both.
        scale_factor: output over input size, one number or (h, w), instead of size; the result is rounded down, and
            the positions follow from the factor as given.
        mode: "nearest" or "bilinear".
        align_corners: for "bilinear": the centres of corner pixels coincide, not their outer corners.

    Returns: [n, c, oh, ow], channels_last if x is.

    Raises:
        TypeError: x is not a tensor.
        ValueError: a size, factor or mode is not one of the above; the message has the values.
    """
    factors = _check(x, size, scale_factor, mode, align_corners)
    if _torch.falls_back("upsample", x):
        return F.interpolate(x, size, scale_factor, mode, align_corners)
    oh, ow = output_size(x.shape, size, factors)
    code = MODES[mode, bool(align_corners)]
    fh, fw = factors or (0.0, 0.0)
    y: Tensor = torch.ops.pycnn.upsample.default(x, code, oh, ow, fh, fw, "")
    return y


def _raw_reference(
    x: Tensor, mode: int, oh: int, ow: int, factor_h: float, factor_w: float, kernel: str
) -> Tensor:
    factors = (factor_h or None, factor_w or None)
    y: Tensor
    if mode == 0:
        y = torch.ops.aten.upsample_nearest2d.default(x, [oh, ow], *factors)
    else:
        y = torch.ops.aten.upsample_bilinear2d.default(x, [oh, ow], mode == 2, *factors)
    return y


def _fake(
    x: Tensor, mode: int, oh: int, ow: int, factor_h: float, factor_w: float, kernel: str
) -> Tensor:
    return _torch.empty_map(x, (*x.shape[:2], oh, ow), _torch.channels_last(x))


_torch.register("upsample", _fake, _raw_reference, tensors=1)
