"""Arithmetic with a broadcast operand and an activation in one pass; the gate of squeeze-and-excitation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._prims_common import compute_elementwise_output_strides

from pycnn.ops import _torch
from pycnn.ops.act import ACTS, LEAKY_SLOPE, act_code, apply_act
from pycnn.ops.elementwise import empty_result
from pycnn.ops.global_pool import global_avg_pool2d
from pycnn.ops.linear import linear

KINDS: dict[str, int] = {
    "add": 0,
    "sub": 1,
    "mul": 2,
    "div": 3,
    "rsub": 4,
    "rdiv": 5,
    "prelu": 6,
    "max": 7,
    "sqrt": 8,
    "rsqrt": 9,
}
_NAMES = {code: name for name, code in ACTS.items()}
_KIND_NAMES = {code: name for name, code in KINDS.items()}


def apply_kind(x: Tensor, other: Tensor | float, kind: str) -> Tensor:
    """The torch composition of a kind; the two that begin with r have their operands exchanged."""
    match kind:
        case "add":
            return x + other
        case "sub":
            return x - other
        case "mul":
            return x * other
        case "div":
            return x / other
        case "rsub":
            return other - x
        case "rdiv":
            return other / x
        case "prelu":  # the clamp: an infinite x has no say in the slope's gradient
            return torch.where(x > 0, x, other * x.clamp(max=0))
        case "max":
            return torch.maximum(x, torch.as_tensor(other, dtype=x.dtype, device=x.device))
        case "sqrt":
            return torch.sqrt(x + other)
        case "rsqrt":
            return torch.rsqrt(x + other)
    raise ValueError(f"arith: kind={kind!r} is not one of {', '.join(KINDS)}")


def reference(x: Tensor, other: Tensor, kind: str, act: str, act_param: float) -> Tensor:
    """The torch composition."""
    return apply_act(apply_kind(x, other, kind), act, act_param)


def arith(
    x: Tensor, other: Tensor, kind: str, *, act: str = "none", act_param: float = LEAKY_SLOPE
) -> Tensor:
    """``act(x + other)``, ``act(x * other)``, ... as ``kind`` says.

    Equivalent to: ``act(x * other)`` for kind "mul", ``act(other - x)`` for "rsub".

    Args:
        x: any shape; other: a shape that broadcasts with it, same dtype and device. fp32 on the CPU runs our kernel if
            the result has x's shape; anything else, and a call that needs a gradient, runs the torch composition.
        kind: "add", "sub", "mul", "div", or with the operands exchanged "rsub", "rdiv"; "prelu" is x where
            x > 0, else ``other * x``; "max", the larger; "sqrt", "rsqrt", those of ``x + other``.
        act, act_param: as in :func:`pycnn.ops.conv2d`.

    Returns: a tensor of the shape and the strides torch gives it.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: shapes do not broadcast, or kind or activation is unknown; the message has the values.
    """
    _torch.check_tensor("arith", "x", x)
    _torch.check_same("arith", x, other=other)
    if kind not in KINDS:
        raise ValueError(f"arith: kind={kind!r} is not one of {', '.join(KINDS)}")
    code = act_code("arith", act)
    ends = list(zip(reversed(x.shape), reversed(other.shape), strict=False))
    if any(a != b and 1 not in (a, b) for a, b in ends):
        raise ValueError(
            f"arith: x has shape {tuple(x.shape)}, other {tuple(other.shape)}, and they do not broadcast"
        )
    if other.dim() > x.dim() or any(b not in (a, 1) for a, b in ends):
        _torch.log.debug("arith: torch's own op runs: the result is larger than x")
        return reference(x, other, kind, act, act_param)
    if _torch.falls_back("arith", x, other):
        return reference(x, other, kind, act, act_param)
    call = torch.ops.pycnn.arith.default
    y: Tensor = call(_in_output_order(x, other, kind), other, KINDS[kind], code, act_param, "")
    return y


def channel_gate(
    x: Tensor,
    gate: Tensor,
    residual: Tensor | None = None,
    *,
    act: str = "none",
    act_param: float = LEAKY_SLOPE,
) -> Tensor:
    """``y[n,c,y,x] = act(x[n,c,y,x] * gate[n,c] + residual[n,c,y,x])``: the scale of squeeze-and-excitation.

    Equivalent to: ``act(x * gate[:, :, None, None] + residual)``

    Args:
        x: [n, c, h, w]. gate: [n, c] or [n, c, 1, 1]. residual: x's shape, or None for none.
        act, act_param: as in :func:`pycnn.ops.conv2d`.

    Returns: [n, c, h, w].

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: a shape does not fit; the message has the values.

    Source: Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv:1709.01507, equation 4.
    """
    _torch.check_tensor("channel_gate", "x", x, (4,))
    _torch.check_same("channel_gate", x, gate=gate, residual=residual)
    n, c = x.shape[:2]
    if tuple(gate.shape) not in ((n, c), (n, c, 1, 1)):
        raise ValueError(
            f"channel_gate: x has shape {tuple(x.shape)}, gate {tuple(gate.shape)}, expected {(n, c)}"
        )
    if residual is not None and residual.shape != x.shape:
        raise ValueError(
            f"channel_gate: x has shape {tuple(x.shape)}, residual {tuple(residual.shape)}"
        )
    each = gate.view(n, c, 1, 1) if gate.dim() == 2 and gate.is_contiguous() else gate
    each = each if each.dim() == 4 else each[:, :, None, None]
    if residual is None:
        return arith(x, each, "mul", act=act, act_param=act_param)
    return arith(arith(x, each, "mul"), residual, "add", act=act, act_param=act_param)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """``y[n,c,...] = x[n,c,...]`` where that is positive, else ``weight[c] * x[n,c,...]``.

    Equivalent to: ``F.prelu(x, weight)``

    Args:
        x: any shape, its channels axis 1. weight: [c], or [1] for one slope; same dtype and device.

    Returns: a tensor of x's shape.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: weight does not fit; the message has the shapes.

    Source: He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, equation 1.
    """
    _torch.check_tensor("prelu", "x", x)
    _torch.check_same("prelu", x, weight=weight)
    fits = weight.dim() == 1 and (weight.numel() == 1 or x.shape[1:2] == weight.shape)
    if not fits:
        raise ValueError(f"prelu: x has shape {tuple(x.shape)}, weight {tuple(weight.shape)}")
    each = weight if weight.numel() > 1 else weight.reshape(())
    return arith(x, each.view(-1, *(1,) * (x.dim() - 2)) if each.dim() else each, "prelu")


def squeeze_excite(
    x: Tensor,
    reduce: tuple[Tensor, Tensor | None],
    expand: tuple[Tensor, Tensor | None],
    *,
    act: str = "relu",
    gate: str = "sigmoid",
) -> Tensor:
    """``y = x * gate(expand(act(reduce(mean of x over the map)))))``: squeeze-and-excitation.

    Equivalent to: ``x * torch.sigmoid(F.conv2d(torch.relu(F.conv2d(x.mean((2, 3), keepdim=True), w1, b1)), w2, b2))``

    Args:
        x: [n, c, h, w].
        reduce, expand: (weight, bias or None) of the two layers, weights [m, c] and [c, m], or with two axes of
            size 1 after them as 1x1 convolutions have; biases [m] and [c].
        act, gate: activations of the two layers, as in :func:`pycnn.ops.conv2d`.

    Returns: [n, c, h, w].

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: a shape does not fit, or an activation is unknown; the message has the values.

    Source: Hu et al. 2018, Squeeze-and-Excitation Networks, arXiv:1709.01507.
    """
    _torch.check_tensor("squeeze_excite", "x", x, (4,))
    rows = global_avg_pool2d(x, keepdim=False)
    for (weight, bias), activation in ((reduce, act), (expand, gate)):
        _torch.check_tensor("squeeze_excite", "a weight", weight, (2, 4))
        rows = linear(rows, weight.flatten(1), bias, act=activation)
    return channel_gate(x, rows)


def _in_output_order(x: Tensor, other: Tensor, kind: str) -> Tensor:
    """x, or its copy in the memory order torch would give the result: the kernel follows x."""
    alike = other.numel() == 1 or (other.shape == x.shape and other.is_contiguous())
    if x.is_contiguous() and alike:
        return x
    pair = (x, other.expand(x.shape))
    strides = compute_elementwise_output_strides(*(pair[::-1] if kind.startswith("r") else pair))
    if empty_result(x).stride() == strides:
        return x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)


def _raw_reference(
    x: Tensor, other: Tensor, kind: int, act: int, act_param: float, kernel: str
) -> Tensor:
    return reference(x, other, _KIND_NAMES[kind], _NAMES[act], act_param)


def _fake(x: Tensor, other: Tensor, kind: int, act: int, act_param: float, kernel: str) -> Tensor:
    return empty_result(x)


_torch.register("arith", _fake, _raw_reference, tensors=2)
