"""2-D convolution with bias, residual and activation in one pass."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act

Pair = int | Sequence[int]
_NAMES = {code: name for name, code in ACTS.items()}


def integers(
    name: str, value: object, counts: tuple[int, ...], least: int, op: str = "conv2d"
) -> tuple[int, ...]:
    """value as two or four integers; one stands for two, as in torch. ValueError if it is not one of ``counts``."""
    try:
        values = tuple(map(operator.index, value if isinstance(value, Iterable) else (value,)))
    except TypeError:
        values = ()
    if len(values) not in counts or min(values) < least:
        wanted = " or ".join(map(str, counts))
        raise ValueError(f"{op}: {name}={value!r} must be {wanted} integers >= {least}")
    return values * 2 if len(values) == 1 else values


def resolve_padding(
    padding: Pair | str, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of int, (ph, pw), four ints, "same" or "valid", as in torch."""
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' needs stride 1, got {stride}")
        th, tw = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        return (th // 2, tw // 2, th - th // 2, tw - tw // 2)
    if isinstance(padding, str):
        raise ValueError(f"conv2d: padding={padding!r} is not an integer, 'same' or 'valid'")
    values = integers("padding", padding, (1, 2, 4), 0)
    return (*values, *values) if len(values) == 2 else (values[0], values[1], values[2], values[3])


def output_shape(
    x: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> tuple[int, int, int, int]:
    """[n, k, oh, ow] of a convolution of x [n, c, h, w] by weight [k, c/groups, kh, kw]; ValueError if it has none."""
    n, c, *size = x
    k, group_c, *kernel = weight
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"conv2d: groups={groups!r} must be a positive integer")
    if c % groups or k % groups:
        raise ValueError(f"conv2d: groups={groups} does not divide c={c} and k={k}")
    if group_c * groups != c:
        raise ValueError(f"conv2d: weight takes {group_c * groups} channels, x has {c}")
    out = []
    for axis in (0, 1):
        padded = size[axis] + padding[axis] + padding[axis + 2]
        span = dilation[axis] * (kernel[axis] - 1) + 1
        if span > padded:
            raise ValueError(
                f"conv2d: the kernel spans {span} pixels, the padded input has {padded}"
            )
        out.append((padded - span) // stride[axis] + 1)
    return n, k, out[0], out[1]


def reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    act: str,
    act_param: float,
) -> Tensor:
    """The torch composition; ``padding`` is (top, left, bottom, right)."""
    top, left, bottom, right = padding
    if (top, left) != (bottom, right):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    y = F.conv2d(x, weight, bias, tuple(stride), (top, left), tuple(dilation), groups)
    return apply_act(y if residual is None else y + residual, act, act_param)


def _check_epilogue(bias: Tensor | None, residual: Tensor | None, y: tuple[int, ...]) -> None:
    """`y`: the output's shape, [n, k, oh, ow] or [k, oh, ow]."""
    if bias is not None and tuple(bias.shape) != (y[-3],):
        raise ValueError(f"conv2d: bias has shape {tuple(bias.shape)}, expected ({y[-3]},)")
    if residual is not None and tuple(residual.shape) != y:
        raise ValueError(f"conv2d: residual has shape {tuple(residual.shape)}, the output {y}")


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    act: str = "none",
    act_param: float = LEAKY_SLOPE,
    residual: Tensor | None = None,
) -> Tensor:
    """Convolution with a fused epilogue.

    ``y = act(conv(x, weight) + bias + residual)``

    Equivalent to: ``act(F.conv2d(x, weight, bias, stride, padding, dilation, groups) + residual)``

    Args:
        x: [n, c, h, w] or [c, h, w]. fp32 on the CPU runs our kernel; anything else, and a call that
            needs a gradient, runs the torch composition above.
        weight: [k, c / groups, kh, kw], same dtype and device as x.
        bias: [k] or None.
        stride, dilation: one or two positive integers.
        padding: an integer, (ph, pw), (top, left, bottom, right), "same" or "valid"; zeros.
        act: none, relu, relu6, leaky_relu, silu, hardswish, hardsigmoid, sigmoid, tanh, gelu
            (exact), gelu_tanh, mish or elu; ``act_param`` is leaky_relu's slope or elu's alpha.
        residual: a tensor of the output's shape, or None.

    Returns:
        [n, k, oh, ow] in the memory format torch gives (channels_last if x or weight is).

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: ranks, channels, groups, sizes or the activation do not fit; the message has them.
    """
    _torch.check_tensor("conv2d", "x", x, (3, 4))
    _torch.check_tensor("conv2d", "weight", weight, (4,))
    _torch.check_same("conv2d", x, weight=weight, bias=bias, residual=residual)
    code = act_code("conv2d", act)
    sh, sw = integers("stride", stride, (1, 2), 1)
    dh, dw = integers("dilation", dilation, (1, 2), 1)
    strides, dilations = (sh, sw), (dh, dw)
    pads = resolve_padding(padding, (weight.shape[2], weight.shape[3]), strides, dilations)
    batched = x if x.dim() == 4 else x.unsqueeze(0)
    shape = output_shape(batched.shape, weight.shape, strides, pads, dilations, groups)
    _check_epilogue(bias, residual, shape if x.dim() == 4 else shape[1:])
    if _torch.falls_back("conv2d", x, weight, bias, residual) or weight.numel() == 0:
        return reference(
            x, weight, bias, residual, strides, pads, dilations, groups, act, act_param
        )
    r = residual if residual is None or x.dim() == 4 else residual.unsqueeze(0)
    y: Tensor = torch.ops.pycnn.conv2d.default(
        batched, weight, bias, r, strides, pads, dilations, groups, code, act_param, ""
    )
    return y if x.dim() == 4 else y.squeeze(0)


def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals bn(conv(x)) in eval; folded in fp64, rounded once."""
    assert bn.running_mean is not None and bn.running_var is not None
    scale = torch.rsqrt(bn.running_var.double() + bn.eps)
    if bn.weight is not None:
        scale = scale * bn.weight.double()
    shift = (
        -bn.running_mean.double()
        if conv.bias is None
        else conv.bias.double() - bn.running_mean.double()
    )
    bias = shift * scale
    if bn.bias is not None:
        bias = bias + bn.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)


def _composition(
    x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, act: str, residual: Tensor | None
) -> Tensor:
    y: Tensor = conv(x)
    if bn is not None:
        y = bn(y)
    return apply_act(y if residual is None else y + residual, act)


def _runs(module: nn.Module, *methods: Callable[..., object]) -> bool:
    """Whether these methods are the module's own, not those of a subclass or set on the instance, and no hook runs."""
    own = all(getattr(getattr(module, f.__name__), "__func__", None) is f for f in methods)
    return own and not (module._forward_hooks or module._forward_pre_hooks)


def conv_bn_act(
    x: Tensor,
    conv: nn.Conv2d,
    bn: nn.BatchNorm2d | None = None,
    act: str = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """``act(bn(conv(x)) + residual)`` of torch modules, as one kernel where that is the same thing.

    Equivalent to: ``act(bn(conv(x)) + residual)``

    The torch composition itself runs when a gradient is needed, when bn uses batch statistics, when
    either has hooks or a forward of its own, when padding is not zeros, when a torch mode (tracing,
    capture, export, autocast) is watching, or when the input has no kernel. The fold is redone at each
    call: a module that runs often wants `pycnn.optimize`.

    Raises: ValueError: as :func:`conv2d`, act is unknown, or bn has another number of channels than conv.
    """
    act_code("conv_bn_act", act)
    watched = torch._C._len_torch_function_stack() > 0 or torch._C._get_tracing_state() is not None
    batch_stats = bn is not None and (bn.training or bn.running_mean is None)
    plain = _runs(conv, nn.Conv2d.forward, nn.Conv2d._conv_forward)
    plain = (
        plain and (bn is None or _runs(bn, nn.BatchNorm2d.forward)) and conv.padding_mode == "zeros"
    )
    if watched or batch_stats or not plain or torch.compiler.is_compiling():
        return _composition(x, conv, bn, act, residual)
    tensors = [*conv.parameters(), *(bn.parameters() if bn is not None else ())]
    if _torch.falls_back("conv_bn_act", x, residual, *tensors):
        return _composition(x, conv, bn, act, residual)
    if bn is not None and bn.num_features != conv.out_channels:
        raise ValueError(
            f"conv_bn_act: bn has {bn.num_features} features, conv gives {conv.out_channels}"
        )
    weight, bias = (conv.weight, conv.bias) if bn is None else fold_batch_norm(conv, bn)
    return conv2d(
        x,
        weight,
        bias,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        act=act,
        residual=residual,
    )


def _raw_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    return reference(
        x, weight, bias, residual, stride, padding, dilation, groups, _NAMES[act], act_param
    )


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    act: int,
    act_param: float,
    kernel: str,
) -> Tensor:
    shape = output_shape(x.shape, weight.shape, stride, padding, dilation, groups)
    return _torch.empty_map(x, shape, _torch.channels_last(x, weight))


_torch.register("conv2d", _fake, _raw_reference, tensors=4)
