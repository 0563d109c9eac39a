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
    Identity,
    Linear,
    Norm,
    Pad,
    Pool2d,
    Reshape,
    Size,
    Source,
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
    _fp32_source(g, weight, "conv2d: weight")
    _fp32_source(g, bias, "conv2d: bias")
    strides, dilations = _pair(stride), _pair(dilation)
    kernel = g.tensors.shape(weight)[2:]
    if padding == "same":
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
    _fp32_source(g, weight, "linear: weight")
    _fp32_source(g, bias, "linear: bias")
    if x.rank < 2 or len(g.tensors.shape(weight)) != 2:
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
    for name, tensor in {
        "mean": running_mean,
        "var": running_var,
        "weight": weight,
        "bias": bias,
    }.items():
        _fp32_source(g, tensor, f"batch_norm: {name}")
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
    return g.emit(op, map_value(input, "max_pool2d: x"))


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
    return g.emit(op, map_value(input, "avg_pool2d: x"))


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


@converts("flatten", where=(torch, torch.Tensor))
def flatten(g: Builder, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    x = fp32_value(input, "flatten: x")
    if not x.rank:
        raise Unsupported("flatten: x is a scalar")
    return g.emit(Flatten(start_dim % x.rank, end_dim % x.rank), x)


@converts("reshape", "view", where=(torch, torch.Tensor))
def reshape(g: Builder, input: Value, *shape: Any) -> Value:
    x = fp32_value(input, "reshape: x")
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if not all(isinstance(s, int) for s in sizes):
        raise Unsupported(f"view: {sizes} are not sizes")
    if len(sizes) == 2 and x.rank > 1 and _keeps_batch(g, x, *sizes):
        return g.emit(Flatten(1, x.rank - 1), x)
    return g.emit(Reshape(sizes), x)


def _keeps_batch(g: Builder, x: Value, first: int, second: int) -> bool:
    """Whether x viewed as [first, second] is x.flatten(1): for every shape, or under a guard."""
    n = Size(x.id, 0)
    if isinstance(first, Dim) and not isinstance(second, Dim) and second == -1:
        return first.expr == n or g.guard(first, "==", Dim(x.shape[0], n))
    if isinstance(second, Dim) or not (isinstance(first, Dim) or first == -1):
        return False
    features: int = 1
    for d in range(1, x.rank):
        features = features * Dim(x.shape[d], Size(x.id, d))
    return g.guard(features, "==", second)


@converts("pad", where=(F,))
def convert_pad(
    g: Builder, input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Value:
    x = fp32_value(input, "pad: x")
    if mode != "constant" or x.rank < 2:
        raise Unsupported(f"pad: mode={mode!r} with {x.rank} axes is run by torch")
    left, right, top, bottom, *outer = (*pad, 0, 0) if len(pad) == 2 else pad
    if any(outer) or min(left, right, top, bottom) < 0:
        raise Unsupported(f"pad: pad={tuple(pad)} crops or reaches beyond the image axes")
    return g.emit(Pad((top, left, bottom, right), 0.0 if value is None else float(value)), x)


@converts("constant_pad_nd", where=(torch,))
def constant_pad_nd(g: Builder, input: Value, pad: Sequence[int], value: float = 0) -> Value:
    return convert_pad(g, input, pad, "constant", value)


@converts("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", where=(F,))
def dropout(
    g: Builder, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Value:
    if training and p > 0:
        raise Unsupported("dropout: training=True draws random numbers at each call")
    return g.emit(Identity(), fp32_value(input, "dropout: x"))


@converts(
    "contiguous", "clone", "detach", "to", "float", "cpu", "alias", where=(torch, torch.Tensor)
)
def identity(g: Builder, input: Value, *args: Any, **kwargs: Any) -> Value:
    return g.emit(Identity(), fp32_value(input, "identity: x"))


def _fp32_source(g: Builder, operand: object, what: str) -> None:
    if operand is None:
        return
    if not isinstance(operand, Source):
        raise Unsupported(f"{what} is computed, not a tensor of the model")
    if g.tensors[operand].dtype != torch.float32:
        raise Unsupported(f"{what} is {g.tensors[operand].dtype}, the kernels take torch.float32")


def _pair(value: Any) -> tuple[int, int]:
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) not in (1, 2) or not all(isinstance(i, int) for i in items):
        raise Unsupported(f"{value!r} is not one or two ints")
    return (items[0], items[-1])
