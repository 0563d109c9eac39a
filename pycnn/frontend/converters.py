"""The table: torch function -> converter.

A converter has the torch function's own parameter names and defaults, so Python binds the arguments; it adds nodes
through the builder and returns the last value, or raises Unsupported with a sentence.  One entry serves every spelling
of a function: torch.*, torch.nn.functional.*, Tensor.*, and the in-place ones (the trace gives the result a new value).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F

from ..ir import (
    AdaptivePool2d,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    Dim,
    Flatten,
    LayerNorm,
    Linear,
    Norm,
    Pool2d,
    Size,
    Source,
    Upsample,
)
from .builder import Builder, Unsupported, Value, fp32_value, map_value
from .table import converts


@converts("conv2d")
def conv2d(
    g: Builder,
    input: Value,
    weight: Source,
    bias: Source | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    x = map_value(input, "conv2d: x")
    _fp32_source(g, weight, "conv2d: weight", axes=4)
    k, _, *kernel = g.tensors.shape(weight)
    _fp32_source(g, bias, "conv2d: bias", size=k)
    strides, dilations = _pair(stride), _pair(dilation)
    if groups < 1 or k % groups:
        raise Unsupported(f"conv2d: groups={groups} does not divide k={k}")
    if padding == "same":
        if strides != (1, 1):
            raise Unsupported(f"conv2d: padding='same' with stride {strides}")
        total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        top, left = (t // 2 for t in total)
        pads = (top, left, total[0] - top, total[1] - left)
    else:
        ph, pw = (0, 0) if padding == "valid" else _pair(padding)
        pads = (ph, pw, ph, pw)
    return g.emit(Conv2d(weight, bias, strides, pads, dilations, groups), x)


@converts("linear")
def linear(g: Builder, input: Value, weight: Source, bias: Source | None = None) -> Value:
    x = fp32_value(input, "linear: x")
    _fp32_source(g, weight, "linear: weight", axes=2)
    _fp32_source(g, bias, "linear: bias", size=g.tensors.shape(weight)[0])
    if x.rank < 2:
        raise Unsupported(f"linear: x has {x.rank} axes, the kernels take at least 2")
    return g.emit(Linear(weight, bias), x)


@converts("batch_norm", where=(F,))
def batch_norm(
    g: Builder,
    input: Value,
    running_mean: Source | None,
    running_var: Source | None,
    weight: Source | None = None,
    bias: Source | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    if training or running_mean is None or running_var is None:
        raise Unsupported(
            "batch_norm: uses the statistics of the batch",
            writes=training and running_mean is not None,
        )
    x = fp32_value(input, "batch_norm: x")
    if x.rank < 2:
        raise Unsupported(f"batch_norm: x has {x.rank} axes")
    tensors = {"mean": running_mean, "var": running_var, "weight": weight, "bias": bias}
    for name, tensor in tensors.items():
        _fp32_source(g, tensor, f"batch_norm: {name}", size=x.shape[1])
    return g.emit(BatchNorm(Norm(running_mean, running_var, weight, bias, eps)), x)


@converts("batch_norm", where=(torch,))
def torch_batch_norm(
    g: Builder,
    input: Value,
    weight: Source | None,
    bias: Source | None,
    running_mean: Source | None,
    running_var: Source | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    return batch_norm(g, input, running_mean, running_var, weight, bias, training, momentum, eps)


@converts("layer_norm", where=(F,))
def layer_norm(
    g: Builder,
    input: Value,
    normalized_shape: Sequence[int],
    weight: Source | None = None,
    bias: Source | None = None,
    eps: float = 1e-5,
) -> Value:
    x = fp32_value(input, "layer_norm: x")
    if len(normalized_shape) != 1 or isinstance(normalized_shape[0], Dim):
        raise Unsupported(f"layer_norm: over {tuple(normalized_shape)}, not the channels alone")
    if weight is None and bias is not None:
        raise Unsupported("layer_norm: a bias without a weight is run by torch")
    c = int(normalized_shape[0])
    for name, tensor in (("weight", weight), ("bias", bias)):
        _fp32_source(g, tensor, f"layer_norm: {name}", size=c)
    return g.emit(LayerNorm(c, weight, bias, eps), x)


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
    kernel = _pair(kernel_size)
    op = Pool2d("max", kernel, _pair(stride or kernel), _pair(padding), _pair(dilation), ceil_mode)
    return g.emit(_window(op), map_value(input, "max_pool2d: x"))


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
    kernel = _pair(kernel_size)
    options = ((1, 1), ceil_mode, count_include_pad, divisor_override)
    op = Pool2d("avg", kernel, _pair(stride or kernel), _pair(padding), *options)
    return g.emit(_window(op), map_value(input, "avg_pool2d: x"))


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
    oh, ow = (Dim(x.shape[d], Size(x.id, d)) if s is None else s for d, s in enumerate(sizes, 2))
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
        return g.emit(Upsample(kind, bool(align_corners), _pair(size)), x)
    pair = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,)
    factors = (float(pair[0]), float(pair[-1]))
    return g.emit(Upsample(kind, bool(align_corners), factors=factors), x)


@converts("mean", where=(torch, torch.Tensor))
def mean(
    g: Builder, input: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    x = map_value(input, "mean: x")
    axes = {d % 4 for d in (dim if isinstance(dim, (tuple, list)) else (dim,)) if d is not None}
    if axes != {2, 3} or dtype is not None:
        raise Unsupported(f"mean: dim={dim} is not the two image axes in fp32")
    pooled = g.emit(AdaptivePool2d("avg", (1, 1)), x)
    return pooled if keepdim else g.emit(Flatten(1, 3), pooled)


@converts("add", "__add__", "__radd__", "__iadd__")
def add(g: Builder, input: Value, other: Value, *, alpha: float = 1) -> Value:
    a, b = fp32_value(input, "add: the first operand"), fp32_value(other, "add: the second operand")
    if alpha != 1:
        raise Unsupported(f"add: alpha={alpha} is run by torch")
    if a.shape != b.shape:
        raise Unsupported(f"add: shapes {list(a.shape)} and {list(b.shape)} broadcast")
    return g.emit(Add(), a, b)


@converts("cat", "concat", "concatenate", where=(torch,))
def cat(g: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    values = [fp32_value(x, "cat: an operand") for x in tensors]
    if not values or any(x.rank != values[0].rank for x in values) or not values[0].rank:
        raise Unsupported("cat: the operands have different ranks")
    return g.emit(Concat(dim % values[0].rank), *values)


def _fp32_source(
    g: Builder, operand: object, what: str, axes: int = 1, size: int | None = None
) -> None:
    """Unsupported unless `operand` is None or an fp32 tensor of the model with `axes` axes (of this size)."""
    if operand is None:
        return
    if not isinstance(operand, Source):
        raise Unsupported(f"{what} is computed, not a tensor of the model")
    tensor = g.tensors[operand]
    if tensor.dtype != torch.float32:
        raise Unsupported(f"{what} is {tensor.dtype}, the kernels take torch.float32")
    if tensor.dim() != axes or (size is not None and tensor.shape[0] != size):
        raise Unsupported(f"{what} has shape {list(tensor.shape)}, expected size {size}")


def _window(op: Pool2d) -> Pool2d:
    """`op`, or Unsupported where torch refuses the window."""
    for k, s, p, d in zip(op.kernel, op.stride, op.padding, op.dilation, strict=True):
        if k < 1 or s < 1 or d < 1 or not 0 <= 2 * p <= d * (k - 1) + 1:
            raise Unsupported(f"pool2d: kernel {k}, stride {s}, padding {p}, dilation {d}")
    if op.divisor_override == 0:
        raise Unsupported("avg_pool2d: divisor_override=0")
    return op


def _pair(value: Any) -> tuple[int, int]:
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) not in (1, 2) or not all(isinstance(i, int) for i in items):
        raise Unsupported(f"{value!r} is not one or two ints")
    return (items[0], items[-1])
