"""Max, average and adaptive pooling with torch's arguments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch

Pair = int | Sequence[int]
OutputSize = int | Sequence[int | None]

# PoolMode in csrc/ops/pool2d/pool2d.h
MAX, AVG, ADAPTIVE_MAX, ADAPTIVE_AVG = 0, 1, 2, 3


def _pair(op: str, name: str, value: Pair, least: int) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) not in (1, 2) or any(not isinstance(v, int) or v < least for v in values):
        raise ValueError(f"{op}: {name}={value!r} must be one or two integers >= {least}")
    return values[0], values[-1]


def _stride(op: str, stride: Pair | None, kernel_size: tuple[int, int]) -> tuple[int, int]:
    if stride is None or (
        not isinstance(stride, int) and len(stride) == 0
    ):  # torch's default is either
        return kernel_size
    return _pair(op, "stride", stride, 1)


def _out_size(size: int, k: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> int:
    """Windows along one axis. With ceil_mode the last one must start inside the map or its leading padding."""
    out = (size + 2 * pad - dilation * (k - 1) - 1 + (stride - 1 if ceil_mode else 0)) // stride + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + pad else out


def output_shape(
    op: str,
    x: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> tuple[int, ...]:
    """[..., c, oh, ow] of pooling x [..., c, h, w]; ValueError if no window fits."""
    for k, pad in zip(kernel_size, padding, strict=True):
        if pad > k // 2:
            raise ValueError(f"{op}: padding={pad} is more than half of kernel_size={k}")
    windows = zip(x[-2:], kernel_size, stride, padding, dilation, strict=True)
    h, w = (_out_size(*window, ceil_mode) for window in windows)
    if h < 1 or w < 1:
        raise ValueError(
            f"{op}: kernel_size={tuple(kernel_size)} with dilation={tuple(dilation)} does not fit "
            f"x of shape {tuple(x)} with padding={tuple(padding)}"
        )
    return (*x[:-2], h, w)


def _check_map(op: str, x: object) -> Tensor:
    _torch.check_tensor(op, "x", x, (3, 4))
    assert isinstance(x, Tensor)
    if 0 in x.shape[-2:]:
        raise ValueError(f"{op}: x has no pixels, its shape is {tuple(x.shape)}")
    return x


def _runs_kernel(op: str, x: Tensor) -> bool:
    if x.dim() == 4 and x.shape[1] > 0:
        return not _torch.falls_back(op, x)
    _torch.log.debug("%s: torch's own op runs: x has shape %s", op, tuple(x.shape))
    return False


def max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Largest value of each window; NaN if the window holds one. Padding is never the largest.

    ``y[n,c,oy,ox] = max over i,j of x[n, c, oy*sh - ph + i*dh, ox*sw - pw + j*dw]``

    Equivalent to: ``F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 maps on the CPU run our kernel; anything else, and a call that
            needs a gradient, runs torch's op.
        kernel_size, dilation: one or two positive integers.
        stride: the same; None means kernel_size.
        padding: one or two integers between 0 and kernel_size // 2.
        ceil_mode: count windows that hang over the far edge, too.

    Returns: [n, c, oh, ow] or [c, oh, ow], in x's memory format.

    Raises:
        TypeError: x is not a tensor.
        ValueError: shapes or sizes do not fit; the message has them.
        NotImplementedError: return_indices is set.
    """
    if return_indices:
        raise NotImplementedError(
            "max_pool2d: return_indices=True is not offered; use torch.nn.functional.max_pool2d"
        )
    x = _check_map("max_pool2d", x)
    kernel = _pair("max_pool2d", "kernel_size", kernel_size, 1)
    strides = _stride("max_pool2d", stride, kernel)
    pads = _pair("max_pool2d", "padding", padding, 0)
    dilations = _pair("max_pool2d", "dilation", dilation, 1)
    output_shape("max_pool2d", x.shape, kernel, strides, pads, dilations, ceil_mode)
    if not _runs_kernel("max_pool2d", x):
        return reference(x, MAX, kernel, strides, pads, dilations, ceil_mode, True, 0)
    y: Tensor = torch.ops.pycnn.pool2d.default(
        x, MAX, kernel, strides, pads, dilations, ceil_mode, True, 0, ""
    )
    return y


def avg_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window; positions outside the map are 0.

    ``y[n,c,oy,ox] = sum over i,j of x[n, c, oy*sh - ph + i, ox*sw - pw + j] / divisor``; divisor is
    divisor_override, or the window's positions inside the padded map (count_include_pad), or those inside x.

    Equivalent to:
    ``F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 maps on the CPU run our kernel; anything else, and a call that
            needs a gradient, runs torch's op.
        kernel_size, stride, padding, ceil_mode: as in :func:`max_pool2d`.
        divisor_override: an integer other than 0, or None.

    Returns: [n, c, oh, ow] or [c, oh, ow], in x's memory format.

    Raises:
        TypeError: x is not a tensor.
        ValueError: shapes, sizes or the divisor do not fit; the message has them.
    """
    x = _check_map("avg_pool2d", x)
    kernel = _pair("avg_pool2d", "kernel_size", kernel_size, 1)
    strides = _stride("avg_pool2d", stride, kernel)
    pads = _pair("avg_pool2d", "padding", padding, 0)
    divisor = 0 if divisor_override is None else divisor_override
    if not isinstance(divisor, int) or divisor_override == 0:
        raise ValueError(
            f"avg_pool2d: divisor_override={divisor!r} must be an integer other than 0"
        )
    output_shape("avg_pool2d", x.shape, kernel, strides, pads, (1, 1), ceil_mode)
    if not _runs_kernel("avg_pool2d", x):
        return reference(
            x, AVG, kernel, strides, pads, (1, 1), ceil_mode, count_include_pad, divisor
        )
    y: Tensor = torch.ops.pycnn.pool2d.default(
        x, AVG, kernel, strides, pads, (1, 1), ceil_mode, count_include_pad, divisor, ""
    )
    return y


def _adaptive(op: str, mode: int, x: object, output_size: OutputSize) -> Tensor:
    x = _check_map(op, x)
    wanted = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(wanted) != 2 or any(v is not None and (not isinstance(v, int) or v < 0) for v in wanted):
        raise ValueError(
            f"{op}: output_size={output_size!r} must be one or two integers >= 0 or None"
        )
    size = [s if v is None else v for v, s in zip(wanted, x.shape[-2:], strict=True)]
    if not _runs_kernel(op, x):
        return adaptive_reference(x, mode, size)
    y: Tensor
    if mode == ADAPTIVE_AVG and size == [1, 1]:
        y = torch.ops.pycnn.global_pool.default(x, "")
    else:
        y = torch.ops.pycnn.adaptive_pool2d.default(x, mode, size, "")
    return y


def adaptive_avg_pool2d(x: Tensor, output_size: OutputSize) -> Tensor:
    """Mean over windows that divide the map evenly, whatever its size.

    ``y[n,c,oy,ox]`` = mean of rows floor(oy*h/oh) up to ceil((oy+1)*h/oh), columns likewise.

    Equivalent to: ``F.adaptive_avg_pool2d(x, output_size)``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 maps on the CPU run our kernel; anything else, and a call that
            needs a gradient, runs torch's op.
        output_size: an integer, or two of which None keeps the input's size.

    Returns: [n, c, oh, ow] or [c, oh, ow], in x's memory format.

    Raises:
        TypeError: x is not a tensor.
        ValueError: its shape or output_size does not fit; the message has it.
    """
    return _adaptive("adaptive_avg_pool2d", ADAPTIVE_AVG, x, output_size)


def adaptive_max_pool2d(x: Tensor, output_size: OutputSize, return_indices: bool = False) -> Tensor:
    """Largest value of the windows of :func:`adaptive_avg_pool2d`; NaN if the window holds one.

    Equivalent to: ``F.adaptive_max_pool2d(x, output_size)``

    Args, Returns, Raises: as :func:`adaptive_avg_pool2d`; NotImplementedError when return_indices is set.
    """
    if return_indices:
        raise NotImplementedError(
            "adaptive_max_pool2d: return_indices=True is not offered; use "
            "torch.nn.functional.adaptive_max_pool2d"
        )
    return _adaptive("adaptive_max_pool2d", ADAPTIVE_MAX, x, output_size)


def reference(
    x: Tensor,
    mode: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
    kernel: str = "",
) -> Tensor:
    """torch's op for the arguments of ``torch.ops.pycnn.pool2d``."""
    k, s, p = tuple(kernel_size), tuple(stride), tuple(padding)
    if mode == MAX:
        return F.max_pool2d(x, k, s, p, tuple(dilation), ceil_mode)
    return F.avg_pool2d(x, k, s, p, ceil_mode, count_include_pad, divisor_override or None)


def adaptive_reference(
    x: Tensor, mode: int, output_size: Sequence[int], kernel: str = ""
) -> Tensor:
    """torch's op for the arguments of ``torch.ops.pycnn.adaptive_pool2d``."""
    size = (output_size[0], output_size[1])
    return (
        F.adaptive_max_pool2d(x, size) if mode == ADAPTIVE_MAX else F.adaptive_avg_pool2d(x, size)
    )


def _fake(
    x: Tensor,
    mode: int,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
    kernel: str,
) -> Tensor:
    shape = output_shape("pool2d", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return _torch.empty_map(x, shape, _torch.channels_last(x))


def _adaptive_fake(x: Tensor, mode: int, output_size: list[int], kernel: str) -> Tensor:
    return _torch.empty_map(x, (*x.shape[:2], *output_size), _torch.channels_last(x))


_torch.register("pool2d", _fake, reference, tensors=1)
_torch.register("adaptive_pool2d", _adaptive_fake, adaptive_reference, tensors=1)
