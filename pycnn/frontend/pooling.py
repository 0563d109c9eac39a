"""Converters of pooling and resizing."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F

from ..ir import AdaptivePool2d, Pool2d, Upsample
from .builder import Builder, Unsupported, Value, map_value, pair
from .table import converts


@converts("max_pool2d")
def max_pool2d(
    g: Builder,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    if return_indices:
        raise Unsupported("max_pool2d: return_indices=True is run by torch")
    kernel = pair(kernel_size)
    op = Pool2d("max", kernel, pair(stride or kernel), pair(padding), pair(dilation), ceil_mode)
    return g.emit(checked_window(op), map_value(input, "max_pool2d: x"))


@converts("avg_pool2d")
def avg_pool2d(
    g: Builder,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    kernel = pair(kernel_size)
    options = ((1, 1), ceil_mode, count_include_pad, divisor_override)
    op = Pool2d("avg", kernel, pair(stride or kernel), pair(padding), *options)
    return g.emit(checked_window(op), map_value(input, "avg_pool2d: x"))


@converts("adaptive_avg_pool2d")
def adaptive_avg_pool2d(g: Builder, input: Value, output_size: Any) -> Value:
    return _adaptive(g, "avg", input, output_size)


@converts("adaptive_max_pool2d", where=(F,))
def adaptive_max_pool2d(
    g: Builder, input: Value, output_size: Any, return_indices: bool = False
) -> Value:
    if return_indices:
        raise Unsupported("adaptive_max_pool2d: return_indices=True is run by torch")
    return _adaptive(g, "max", input, output_size)


def _adaptive(g: Builder, mode: Literal["max", "avg"], input: Value, output_size: Any) -> Value:
    x = map_value(input, f"adaptive_{mode}_pool2d: x")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    oh, ow = (g.size(x, d) if s is None else s for d, s in enumerate(sizes, 2))
    return g.emit(AdaptivePool2d(mode, (oh, ow)), x)


@converts("interpolate", where=(F,))
def interpolate(
    g: Builder,
    input: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    x = map_value(input, "interpolate: x")
    if mode not in ("nearest", "bilinear") or antialias or recompute_scale_factor:
        options = f"mode={mode!r}, antialias={antialias}"
        raise Unsupported(f"interpolate: {options} or a recomputed scale factor is run by torch")
    kind: Literal["nearest", "bilinear"] = "nearest" if mode == "nearest" else "bilinear"
    if scale_factor is None:
        return g.emit(Upsample(kind, bool(align_corners), pair(size)), x)
    each = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,)
    factors = (float(each[0]), float(each[-1]))
    return g.emit(Upsample(kind, bool(align_corners), factors=factors), x)


def checked_window(op: Pool2d) -> Pool2d:
    """`op`, or Unsupported where torch refuses the window."""
    for k, s, p, d in zip(op.kernel, op.stride, op.padding, op.dilation, strict=True):
        if k < 1 or s < 1 or d < 1 or not 0 <= 2 * p <= d * (k - 1) + 1:
            raise Unsupported(f"pool2d: kernel {k}, stride {s}, padding {p}, dilation {d}")
    if op.divisor_override == 0:
        raise Unsupported("avg_pool2d: divisor_override=0")
    return op
