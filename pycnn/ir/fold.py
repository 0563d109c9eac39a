"""Batch norm folded into the weight before it, in fp64, rounded to fp32 once."""

from __future__ import annotations

import torch
from torch import Tensor

from .ops import Conv2d, ConvTranspose2d, Linear
from .source import TensorTable


def folded_weight(
    op: Conv2d | ConvTranspose2d | Linear, tensors: TensorTable
) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) that give `op` without its norms; conv weight [k, c/groups, kh, kw], transposed
    [c, k/groups, kh, kw], linear [k, c], bias [k].

    Without norms they are the live tensors (viewed as `weight_shape` where set); bias is None if there is none.
    With norms, in order: weight *= g / sqrt(var + eps), bias = (bias - mean) * g / sqrt(var + eps) + b.
    """
    weight = tensors[op.weight].detach()
    bias = None if op.bias is None else tensors[op.bias].detach()
    if isinstance(op, Conv2d) and op.weight_shape is not None:
        weight = weight.reshape(op.weight_shape)
    if not op.norms:
        return weight, bias
    w = weight.double()
    k = w.shape[1] * op.groups if isinstance(op, ConvTranspose2d) else w.shape[0]
    b = torch.zeros(k, dtype=torch.float64) if bias is None else bias.double()
    for norm in op.norms:
        scale = (tensors[norm.var].detach().double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * tensors[norm.weight].detach().double()
        if isinstance(op, ConvTranspose2d):  # row c holds the outputs of its group
            rows = scale.reshape(op.groups, -1).repeat_interleave(w.shape[0] // op.groups, 0)
            w = w * rows[..., None, None]
        else:
            w = w * scale.reshape(-1, *[1] * (w.dim() - 1))
        b = (b - tensors[norm.mean].detach().double()) * scale
        if norm.bias is not None:
            b = b + tensors[norm.bias].detach().double()
    return w.to(weight.dtype), b.to(weight.dtype)
