"""Converters of 1-D convolutions and pools: a line [n, c, l] is a map of one row [n, c, 1, l]."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F

from ..ir import AdaptivePool2d, Conv2d, Flatten, Op, Pool2d, Source, Unflatten
from .builder import Builder, Unsupported, Value, float_source, float_value
from .dense import checked_pads
from .pooling import checked_window
from .table import converts

AS_MAP, AS_LINE = Unflatten(2, (1, -1)), Flatten(2, 3)


def _line(operand: Value, what: str) -> Value:
    x = float_value(operand, what)
    if x.rank != 3:
        raise Unsupported(f"{what} has {x.rank} axes, the kernels take [n, c, l]")
    return x


def _on_map(g: Builder, op: Op, x: Value) -> Value:
    return g.emit(AS_LINE, g.emit(op, g.emit(AS_MAP, x)))


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (tuple, list)) else value)


@converts("conv1d")
def conv1d(
    g: Builder,
    input: Value,
    weight: Source,
    bias: Source | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    x = _line(input, "conv1d: x")
    float_source(g, weight, "conv1d: weight", axes=3)
    k, c, kl = g.tensors.shape(weight)
    float_source(g, bias, "conv1d: bias", size=k)
    step, spread = _one(stride), _one(dilation)
    if padding not in ("same", "valid"):
        padding = [_one(padding)]
    left, right = checked_pads("conv1d", k, groups, [kl], [step], padding, [spread])
    window = (1, step), (0, left, 0, right), (1, spread)
    op = Conv2d(weight, bias, *window, groups, weight_shape=(k, c, 1, kl))
    return _on_map(g, op, x)


@converts("max_pool1d")
def max_pool1d(
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
        raise Unsupported("max_pool1d: return_indices=True is run by torch")
    size = _one(kernel_size)
    window = (1, size), (1, _one(stride or size)), (0, _one(padding)), (1, _one(dilation))
    op = Pool2d("max", *window, ceil_mode)
    return _on_map(g, checked_window(op), _line(input, "max_pool1d: x"))


@converts("avg_pool1d")
def avg_pool1d(
    g: Builder,
    input: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Value:
    size = _one(kernel_size)
    window = (1, size), (1, _one(stride or size)), (0, _one(padding)), (1, 1)
    op = Pool2d("avg", *window, ceil_mode, count_include_pad)
    return _on_map(g, checked_window(op), _line(input, "avg_pool1d: x"))


@converts("adaptive_avg_pool1d")
def adaptive_avg_pool1d(g: Builder, input: Value, output_size: Any) -> Value:
    return _adaptive(g, "avg", input, output_size)


@converts("adaptive_max_pool1d", where=(F,))
def adaptive_max_pool1d(
    g: Builder, input: Value, output_size: Any, return_indices: bool = False
) -> Value:
    if return_indices:
        raise Unsupported("adaptive_max_pool1d: return_indices=True is run by torch")
    return _adaptive(g, "max", input, output_size)


def _adaptive(g: Builder, mode: Literal["max", "avg"], input: Value, output_size: Any) -> Value:
    x = _line(input, f"adaptive_{mode}_pool1d: x")
    return _on_map(g, AdaptivePool2d(mode, (1, _one(output_size))), x)
