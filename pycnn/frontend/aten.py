"""aten's spelling of torch's functions, in which torch.export writes programs: one table of converters serves both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload

from .table import CONVERTERS

Called = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_NAMESPACES = (torch, torch._C._nn, F, Tensor)
_END = 2**63 - 1  # of a slice without an end


def functional(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Called:
    """The call of a torch function that the table knows or that is a question, where an aten op is the same call.

    Arguments keep their places: torch's bindings and aten's schemas have them in one order.
    """
    if not isinstance(func, OpOverload) or func.namespace != "aten":
        return func, args, kwargs
    name = func._schema.name.partition("::")[2]
    if name in _REWRITTEN:
        try:
            return _REWRITTEN[name](*args, **kwargs)
        except TypeError:  # an overload with other parameters
            return func, args, kwargs
    for namespace in _NAMESPACES:
        found = getattr(namespace, name, None)
        if found in CONVERTERS or (found is not None and name in _PIECES):
            return found, args, kwargs
    return func, args, kwargs


_PIECES = ("chunk", "split", "unbind")


def _slice(x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Called:
    whole = [slice(None)] * (dim % x.dim())
    end = None if end is None or (type(end) is int and end == _END) else end
    start = None if type(start) is int and start == 0 else start
    cut = slice(start, end, None if step == 1 else step)
    return Tensor.__getitem__, (x, (*whole, cut)), {}


def _resize(mode: str, corners: bool) -> Callable[..., Called]:
    def rewritten(x: Tensor, size: Any, *rest: Any, **named: Any) -> Called:
        align = {"align_corners": rest[0] if rest else named["align_corners"]} if corners else {}
        factors = rest[corners:] or tuple(v for k, v in named.items() if k != "align_corners")
        if len(factors) > 1 and any(f is not None for f in factors):
            raise TypeError("a factor for each axis beside the size")
        chosen = {} if size is not None or not factors else {"scale_factor": factors[0]}
        return F.interpolate, (x,), {"size": size, **chosen, "mode": mode, **align}

    return rewritten


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Called:
    if weight.dim() != 4:
        raise TypeError("not of images")
    if transposed:
        window = (stride, padding, output_padding, groups, dilation)
        return F.conv_transpose2d, (x, weight, bias, *window), {}
    return F.conv2d, (x, weight, bias, stride, padding, dilation, groups), {}


def _layer_norm(
    x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = True
) -> Called:
    return F.layer_norm, (x, shape, weight, bias, eps), {}


def _group_norm(
    x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = True
) -> Called:
    return F.group_norm, (x, groups, weight, bias, eps), {}


_REWRITTEN: dict[str, Callable[..., Called]] = {
    "sym_size": lambda x, dim: (Tensor.size, (x, dim), {}),
    "slice": _slice,
    "convolution": _convolution,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "_softmax": lambda x, dim, half: (F.softmax, (x, dim), {}) if not half else _refuse(),
    "dropout": lambda x, p, train: (F.dropout, (x, p, train), {}),
    "dropout_": lambda x, p, train: (F.dropout, (x, p, train), {}) if not train else _refuse(),
    "pad": lambda x, pad, mode="constant", value=None: (F.pad, (x, pad, mode, value), {}),
    "_adaptive_avg_pool2d": lambda x, size: (F.adaptive_avg_pool2d, (x, size), {}),
    "upsample_nearest2d": _resize("nearest", corners=False),
    "upsample_bilinear2d": _resize("bilinear", corners=True),
    "upsample_bicubic2d": _resize("bicubic", corners=True),
}


def _refuse() -> Called:
    raise TypeError("draws random numbers in place, or changes the dtype")
