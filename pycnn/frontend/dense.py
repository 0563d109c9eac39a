"""Converters of operations with weights: convolution, linear layer, norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..ir import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dim,
    Flatten,
    GroupNorm,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Norm,
    Source,
    Unflatten,
)
from .builder import (
    Builder,
    Unsupported,
    Value,
    float_source,
    float_value,
    map_value,
    pair,
)
from .table import converts
from .windows import computed_conv2d


@converts("conv2d")
def conv2d(
    g: Builder,
    input: Value,
    weight: Source | Value,
    bias: Source | Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    x = map_value(input, "conv2d: x")
    if isinstance(weight, Value):
        k, _, *kernel = map_value(weight, "conv2d: weight").shape
    else:
        float_source(g, weight, "conv2d: weight", axes=4)
        k, _, *kernel = g.tensors.shape(weight)
    strides, dilations = pair(stride), pair(dilation)
    if padding not in ("same", "valid"):
        padding = pair(padding)
    top, left, bottom, right = pads = checked_pads(
        "conv2d", k, groups, kernel, strides, padding, dilations
    )
    if isinstance(weight, Value):
        return computed_conv2d(g, x, weight, bias, pads, strides, dilations, groups)
    float_source(g, bias, "conv2d: bias", size=k)
    assert not isinstance(bias, Value)
    return g.emit(Conv2d(weight, bias, strides, (top, left, bottom, right), dilations, groups), x)


def checked_pads(
    name: str,
    k: int,
    groups: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
) -> list[int]:
    """Before each axis, then after each, of a convolution that torch takes; or Unsupported."""
    if groups < 1 or k % groups:
        raise Unsupported(f"{name}: groups={groups} does not divide k={k}")
    if padding == "same":
        if any(step != 1 for step in stride):
            raise Unsupported(f"{name}: padding='same' with stride {tuple(stride)}")
        total = [d * (size - 1) for d, size in zip(dilation, kernel, strict=True)]
        return [*(t // 2 for t in total), *(t - t // 2 for t in total)]
    each = [0] * len(kernel) if isinstance(padding, str) else [*padding]
    return each * 2


@converts("conv_transpose2d")
def conv_transpose2d(
    g: Builder,
    input: Value,
    weight: Source,
    bias: Source | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    x = map_value(input, "conv_transpose2d: x")
    float_source(g, weight, "conv_transpose2d: weight", axes=4)
    c, group_k, *_ = g.tensors.shape(weight)
    if groups < 1 or c % groups:
        raise Unsupported(f"conv_transpose2d: groups={groups} does not divide c={c}")
    float_source(g, bias, "conv_transpose2d: bias", size=group_k * groups)
    window = pair(stride), pair(padding), pair(output_padding), pair(dilation)
    return g.emit(ConvTranspose2d(weight, bias, *window, groups), x)


@converts("linear")
def linear(g: Builder, input: Value, weight: Source, bias: Source | None = None) -> Value:
    x = float_value(input, "linear: x")
    float_source(g, weight, "linear: weight", axes=2)
    float_source(g, bias, "linear: bias", size=g.tensors.shape(weight)[0])
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
    x = float_value(input, "batch_norm: x")
    if x.rank < 2:
        raise Unsupported(f"batch_norm: x has {x.rank} axes")
    tensors = {"mean": running_mean, "var": running_var, "weight": weight, "bias": bias}
    for name, tensor in tensors.items():
        float_source(g, tensor, f"batch_norm: {name}", size=x.shape[1])
    op = BatchNorm(Norm(running_mean, running_var, weight, bias, eps))
    if x.rank != 3:
        return g.emit(op, x)
    return g.emit(Flatten(2, 3), g.emit(op, g.emit(Unflatten(2, (1, -1)), x)))  # a map of one row


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
    x = float_value(input, "layer_norm: x")
    if len(normalized_shape) != 1 or isinstance(normalized_shape[0], Dim):
        raise Unsupported(f"layer_norm: over {tuple(normalized_shape)}, not the channels alone")
    if weight is None and bias is not None:
        raise Unsupported("layer_norm: a bias without a weight is run by torch")
    c = int(normalized_shape[0])
    for name, tensor in (("weight", weight), ("bias", bias)):
        float_source(g, tensor, f"layer_norm: {name}", size=c)
    return g.emit(LayerNorm(c, weight, bias, eps), x)


@converts("group_norm", where=(F,))
def group_norm(
    g: Builder,
    input: Value,
    num_groups: int,
    weight: Source | None = None,
    bias: Source | None = None,
    eps: float = 1e-5,
) -> Value:
    x = float_value(input, "group_norm: x")
    if x.rank < 2 or isinstance(num_groups, Dim):
        raise Unsupported(f"group_norm: {num_groups} groups of {x.rank} axes")
    if weight is None and bias is not None:
        raise Unsupported("group_norm: a bias without a weight is run by torch")
    for name, tensor in (("weight", weight), ("bias", bias)):
        float_source(g, tensor, f"group_norm: {name}", size=x.shape[1])
    return g.emit(GroupNorm(num_groups, weight, bias, eps), x)


@converts("group_norm", where=(torch,))
def torch_group_norm(
    g: Builder,
    input: Value,
    num_groups: int,
    weight: Source | None = None,
    bias: Source | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    return group_norm(g, input, num_groups, weight, bias, eps)


@converts("local_response_norm", where=(F,))
def local_response_norm(
    g: Builder,
    input: Value,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Value:
    x = map_value(input, "local_response_norm: x")
    if type(size) is not int or size < 1:
        raise Unsupported(f"local_response_norm: a window of {size} channels")
    return g.emit(LocalResponseNorm(size, float(alpha), float(beta), float(k)), x)
