"""Converters of windows of a value: unfold, im2col, and convolutions whose weight is computed, as products of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..ir import Dim, Flatten, Pad, Permute, Rearrange, Reshape, Source, Torch, Unfold, derive
from .arith import add
from .builder import Builder, Unsupported, Value, float_source, float_value, map_value, pair
from .matmul import matmul
from .table import converts


@converts("unfold", where=(torch.Tensor,), may_alias=True)
def unfold(g: Builder, input: Value, dimension: int, size: int, step: int) -> Value:
    x = float_value(input, "unfold: x")
    if not x.rank or any(isinstance(s, Dim) for s in (dimension, size, step)):
        raise Unsupported("unfold: of a scalar, or of windows whose size is computed")
    return g.emit(Unfold(dimension % x.rank, size, step), x)


@converts("unfold", where=(F,))
def im2col(
    g: Builder,
    input: Value,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Value:
    """[n, c * kh * kw, windows]."""
    x = map_value(input, "unfold: x")
    window = pair(kernel_size), pair(stride), pair(dilation)
    columns, _ = _columns(g, x, [*pair(padding)] * 2, *window)
    return columns


def computed_conv2d(
    g: Builder,
    x: Value,
    weight: Value,
    bias: Any,
    pads: Sequence[int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Value:
    """conv2d whose weight is a value: of each group [k / groups, c / groups * kh * kw] times its channels' windows.

    Unsupported of a window for each channel: it would be read kh * kw times for as many sums of one product.
    """
    n, c, *_ = g.sizes(x)
    k, depth = g.size(weight, 0), g.size(weight, 1)
    kh, kw = g.same(weight, 2), g.same(weight, 3)
    if weight.shape[1] == 1 and kh * kw > 1:
        raise Unsupported("conv2d: weight is computed, for each channel by itself")
    columns, (oh, ow) = _columns(g, x, pads, (kh, kw), stride, dilation)
    rows = depth * (kh * kw)
    a = g.emit(Reshape((1, groups, k // groups, rows)), weight)
    b = g.emit(Reshape((n, groups, rows, oh * ow)), columns)
    y = g.emit(Reshape((n, k, oh, ow)), matmul(g, a, b))
    if bias is None:
        return y
    if isinstance(bias, Source):
        float_source(g, bias, "conv2d: bias", size=weight.shape[0])
        g.same(weight, 0)
        return add(g, y, derive(g.tensors, Torch(torch.reshape, (bias, (weight.shape[0], 1, 1)))))
    return add(g, y, g.emit(Reshape((1, k, 1, 1)), float_value(bias, "conv2d: bias")))


def _columns(
    g: Builder,
    x: Value,
    pads: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Value, tuple[int, int]]:
    """[n, c * kh * kw, oh * ow] of zero-padded maps, and (oh, ow)."""
    n, c, h, w = g.sizes(x)
    top, left, bottom, right = pads
    reach = [d * (size - 1) + 1 for d, size in zip(dilation, kernel, strict=True)]
    oh = (h + (top + bottom) - reach[0]) // stride[0] + 1
    ow = (w + (left + right) - reach[1]) // stride[1] + 1
    if any(pads):
        x = g.emit(Pad((top, left, bottom, right)), x)
    if tuple(kernel) == (1, 1) and tuple(stride) == (1, 1):
        return g.emit(Flatten(2, 3), x), (oh, ow)
    windows = zip(kernel, stride, dilation, strict=True)
    rows, columns = (Unfold(axis, *of) for axis, of in enumerate(windows, 2))
    joined = Reshape((n, c * (kernel[0] * kernel[1]), oh * ow))
    return g.emit(Rearrange((rows, columns, Permute((0, 1, 4, 5, 2, 3)), joined)), x), (oh, ow)
