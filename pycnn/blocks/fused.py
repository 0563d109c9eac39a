"""From a row of ordinary layers to fused calls: how the zoo's modules run.

The modules of the zoo hold `nn.Conv2d`, `nn.BatchNorm2d`, `nn.ReLU`, ... under their usual names and hand them to
`fused`, which in inference joins each convolution with its batch-norm, residual and activation in one `pycnn.ops` call.
Layers are looked at when they are called, so a replaced one (`net.maxpool = nn.Identity()`) counts.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pycnn import ops
from pycnn.ops.attention import reference as attention_reference

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Identity: "none",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Mish: "mish",
}

_NOTHING = nn.Identity()
_thread = threading.local()


@contextmanager
def plain_torch() -> Iterator[None]:
    """Inside, this thread runs the zoo's networks layer by layer as torch's own modules, for reference and timing."""
    before = _runs_plain()
    _thread.plain = True
    try:
        yield
    finally:
        _thread.plain = before


def _runs_plain() -> bool:
    return getattr(_thread, "plain", False)


def fused(x: Tensor, *layers: nn.Module, residual: Tensor | None = None) -> Tensor:
    """Run `layers` one after the other, fused where `pycnn.ops` can; `residual` is added before the last of them.

    Equivalent to:
        for layer in layers[:-1]:
            x = layer(x)
        return layers[-1](x if residual is None else x + residual)

    Exactly that runs when gradients are on, under torch.compile, export, tracing or a TorchFunctionMode, and in
    `plain_torch`: the numbers of training are torch's, and whoever captures the network sees each layer called as a
    module under its own path.

    Args:
        x: input of the first layer, [n, c, h, w] where that is a convolution.
        layers: modules; the last is an activation (or `nn.Identity`) if there is a residual. The layers of an
            `nn.Sequential` among them are taken one by one.
        residual: same shape as the input of the last layer.
    """
    if layer_by_layer():
        return _one_by_one(x, layers, residual)
    last = layers[-1:] if residual is not None else ()  # the residual comes before all of it
    layers = (*_flat(layers[: len(layers) - len(last)]), *last)
    start = 0
    while start < len(layers):
        stop = _group_end(layers, start)
        at_end = stop == len(layers)
        x = _run_group(x, layers[start:stop], residual if at_end else None)
        start = stop
    return x


def fused_add(x: Tensor, *layers: nn.Module, residual: Tensor) -> Tensor:
    """Run `layers` one after the other and add `residual`: `fused` where nothing follows the sum."""
    return fused(x, *layers, _NOTHING, residual=residual)


def concat(branches: list[Tensor]) -> Tensor:
    """`torch.cat(branches, dim=1)`, by `pycnn.ops` where `fused` would use it."""
    return torch.cat(branches, dim=1) if layer_by_layer() else ops.concat(branches, dim=1)


def gated(x: Tensor, gate: Tensor) -> Tensor:
    """x [n, c, h, w] times gate [n, c, 1, 1]: squeeze-and-excitation's last step."""
    return gate * x if layer_by_layer() else ops.channel_gate(x, gate)


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """`ops.attention`; torch's scaled_dot_product_attention where `fused` would use torch's modules."""
    if layer_by_layer():
        return attention_reference(q, k, v, heads, 1 / math.sqrt(q.shape[2] // heads))
    return ops.attention(q, k, v, heads=heads)


class FusedSequential(nn.Sequential):
    """`nn.Sequential` with the same keys and numbers, whose forward is `fused`."""

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, *self)

    def __getitem__(self, index: int | slice) -> nn.Module:
        if isinstance(
            index, slice
        ):  # a subclass with its own __init__ cannot be built from its layers
            return FusedSequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)


def _flat(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if type(layer).forward in (nn.Sequential.forward, FusedSequential.forward):
            yield from _flat(layer.children())
        else:
            yield layer


def layer_by_layer() -> bool:
    """Whether torch's own modules and functions must run: see `fused`."""
    return (
        torch.is_grad_enabled()
        or torch._C._len_torch_function_stack() > 0
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or _runs_plain()
    )


def _one_by_one(x: Tensor, layers: tuple[nn.Module, ...], residual: Tensor | None) -> Tensor:
    for layer in layers[:-1]:
        x = layer(x)
    if residual is not None:
        x = x + residual
    for layer in layers[-1:]:
        x = layer(x)
    return x


def _activation(layer: nn.Module) -> str | None:
    """Name of the activation `layer` is, if the fused ops have it."""
    if type(layer) is nn.GELU:
        return "gelu" if layer.approximate == "none" else "gelu_tanh"
    return ACTIVATIONS.get(type(layer))


def _group_end(layers: tuple[nn.Module, ...], start: int) -> int:
    """One past the last layer that joins layers[start]: conv [bn] [act], linear or group norm [act], else one layer."""
    kind = type(layers[start])
    stop = start + 1
    if kind is nn.Conv2d and stop < len(layers) and type(layers[stop]) is nn.BatchNorm2d:
        stop += 1
    if (
        kind in (nn.Conv2d, nn.GroupNorm, nn.Linear)
        and stop < len(layers)
        and _activation(layers[stop])
    ):
        stop += 1
    return stop


def _run_group(x: Tensor, group: tuple[nn.Module, ...], residual: Tensor | None) -> Tensor:
    first, last = group[0], group[-1]
    act = _activation(last)
    if residual is not None and len(group) == 1 and act is not None:
        return ops.add_act(x, residual, act=act)
    if residual is not None and act is None:
        return _one_by_one(x, group, residual)
    act = act or "none"
    if type(first) is nn.Conv2d:
        bn = group[1] if len(group) > 1 and isinstance(group[1], nn.BatchNorm2d) else None
        return ops.conv_bn_act(x, first, bn, act, residual)
    if type(first) is nn.Linear:
        return ops.linear(x, first.weight, first.bias, act=act, residual=residual)
    if type(first) is nn.GroupNorm and residual is None:
        norm = (first.num_groups, first.weight, first.bias)
        return ops.group_norm(x, *norm, eps=first.eps, act=act)
    if type(first) is nn.MaxPool2d and not first.return_indices:
        return ops.max_pool2d(
            x, first.kernel_size, first.stride, first.padding, first.dilation, first.ceil_mode
        )
    if type(first) is nn.AvgPool2d:
        return ops.avg_pool2d(
            x, first.kernel_size, first.stride, first.padding,
            first.ceil_mode, first.count_include_pad, first.divisor_override,
        )  # fmt: skip
    if type(first) is nn.Upsample and not first.recompute_scale_factor:
        return _upsample(x, first)
    if type(first) is nn.AdaptiveAvgPool2d and first.output_size is not None:
        return ops.adaptive_avg_pool2d(x, first.output_size)
    return _one_by_one(x, group, residual)


def _upsample(x: Tensor, layer: nn.Upsample) -> Tensor:
    if layer.mode not in ("nearest", "bilinear") or x.dim() != 4:
        return _one_by_one(x, (layer,), None)
    return ops.upsample(x, layer.size, layer.scale_factor, layer.mode, layer.align_corners)
