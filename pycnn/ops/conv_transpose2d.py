"""2-D transposed convolution with bias and activation in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act
from pycnn.ops.conv2d import Pair, integers

_NAMES = {code: name for name, code in ACTS.items()}
_OP = "conv_transpose2d"


def output_shape(
    x: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> tuple[int, int, int, int]:
    """[n, k, oh, ow] of x [n, c, h, w] and weight [c, k/groups, kh, kw]; ValueError if there is none."""
    n, c, *size = x
    weight_c, group_k, *kernel = weight
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{_OP}: groups={groups!r} must be a positive integer")
    if weight_c != c:
        raise ValueError(f"{_OP}: weight takes {weight_c} channels, x has {c}")
    if c % groups:
        raise ValueError(f"{_OP}: groups={groups} does not divide c={c}")
    out = []
    for axis in (0, 1):
        extra, largest = output_padding[axis], max(stride[axis], dilation[axis])
        if extra >= largest:
            raise ValueError(
                f"{_OP}: output_padding={extra} is not below the larger of stride={stride[axis]} and "
                f"dilation={dilation[axis]}"
            )
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        out.append((size[axis] - 1) * stride[axis] - 2 * padding[axis] + reach + extra)
    if min(out) < 1:
        raise ValueError(
            f"{_OP}: x is {size[0]} x {size[1]}, the result would be {out[0]} x {out[1]}"
        )
    return n, group_k * groups, out[0], out[1]


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    act: str,
    act_param: float,
) -> Tensor:
    """The torch composition."""
    pads = tuple(padding), tuple(output_padding)
    y = F.conv_transpose2d(x, weight, bias, tuple(stride), *pads, groups, tuple(dilation))
    return apply_act(y, act, act_param)


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    *,
    act: str = "none",
    act_param: float = LEAKY_SLOPE,
) -> Tensor:
    """Transposed convolution with a fused epilogue.

    ``y = act(conv_transpose(x, weight) + bias)``

    Equivalent to:
    ``act(F.conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation))``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 on the CPU runs our kernel; anything else, and a call that
            needs a gradient, runs the torch composition above.
        weight: [c, k / groups, kh, kw], same dtype and device as x.
        bias: [k] or None.
        stride, dilation: one or two positive integers.
        padding: one or two integers: rows and columns cut off each side of the result.
        output_padding: one or two integers below stride or dilation: rows and columns added to the
            result at the bottom and the right.
        act, act_param: as in :func:`pycnn.ops.conv2d`.

    Returns:
        [n, k, oh, ow] with oh = (h - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1,
        in channels_last if x or weight is.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: ranks, channels, groups, sizes or the activation do not fit; the message has them.
    """
    _torch.check_tensor(_OP, "x", x, (3, 4))
    _torch.check_tensor(_OP, "weight", weight, (4,))
    _torch.check_same(_OP, x, weight=weight, bias=bias)
    code = act_code(_OP, act)
    strides = integers("stride", stride, (1, 2), 1, _OP)
    dilations = integers("dilation", dilation, (1, 2), 1, _OP)
    pads = integers("padding", padding, (1, 2), 0, _OP)
    extra = integers("output_padding", output_padding, (1, 2), 0, _OP)
    batched = x if x.dim() == 4 else x.unsqueeze(0)
    shape = output_shape(batched.shape, weight.shape, strides, pads, extra, dilations, groups)
    if bias is not None and tuple(bias.shape) != (shape[1],):
        raise ValueError(f"{_OP}: bias has shape {tuple(bias.shape)}, expected ({shape[1]},)")
    if _torch.falls_back(_OP, x, weight, bias) or weight.numel() == 0 or x.numel() == 0:
        return reference(x, weight, bias, strides, pads, extra, dilations, groups, act, act_param)
    y: Tensor = torch.ops.pycnn.conv_transpose2d.default(
        batched, weight, bias, strides, pads, extra, dilations, groups, code, act_param, ""
    )
    return y if x.dim() == 4 else y.squeeze(0)


def _raw_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    output_padding: list[int],
    dilation: list[int],
    groups: int,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    window = stride, padding, output_padding, dilation
    return reference(x, weight, bias, *window, groups, _NAMES[act], act_param)


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    output_padding: list[int],
    dilation: list[int],
    groups: int,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    shape = output_shape(x.shape, weight.shape, stride, padding, output_padding, dilation, groups)
    return _torch.empty_map(x, shape, _torch.channels_last(x, weight))


_torch.register(_OP, _fake, _raw_reference, tensors=3)
