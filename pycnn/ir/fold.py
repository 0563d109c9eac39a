"""Batch norm and scales folded into the weight before them, in fp64, rounded once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .ops import Conv2d, ConvTranspose2d, Linear, Scale
from .source import Source, TensorTable


def folded_weight(
    op: Conv2d | ConvTranspose2d | Linear, tensors: TensorTable
) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) that give `op` without its norms; conv weight [k, c/groups, kh, kw], transposed
    [c, k/groups, kh, kw], linear [k, c], bias [k].

    Without norms they are the live tensors (viewed as `weight_shape` where set); bias is None if there is none.
    With norms, fp32 at least, in order: weight *= g / sqrt(var + eps), bias = (bias - mean) * g / sqrt(var + eps) + b.
    """
    weight = tensors[op.weight].detach()
    if isinstance(op, Conv2d) and op.weight_shape is not None:
        weight = weight.reshape(op.weight_shape)
    if not op.norms:
        return weight, folded_bias(op, tensors, weight.device)
    scale, b = _scale_and_bias(op, tensors, weight.device)
    if isinstance(op, ConvTranspose2d):  # row c holds the outputs of its group
        rows = scale.reshape(op.groups, -1).repeat_interleave(weight.shape[0] // op.groups, 0)
        scale = rows[..., None, None]
    else:
        scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return _scaled(weight, scale), b.to(torch.promote_types(weight.dtype, torch.float32))


def folded_bias(
    op: Conv2d | ConvTranspose2d | Linear, tensors: TensorTable, device: torch.device
) -> Tensor | None:
    """The bias that `folded_weight` gives; the weight, on `device`, is not read."""
    if not op.norms:
        return None if op.bias is None else tensors[op.bias].detach()
    _, b = _scale_and_bias(op, tensors, device)
    return b.to(torch.promote_types(tensors.dtype_of(op.weight), torch.float32))


def _scale_and_bias(
    op: Conv2d | ConvTranspose2d | Linear, tensors: TensorTable, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the norms make of a weight's factor 1 and of the bias, fp64 [k]."""
    shape = (op.weight_shape if isinstance(op, Conv2d) else None) or tensors.shape(op.weight)
    k = shape[1] * op.groups if isinstance(op, ConvTranspose2d) else shape[0]
    scale = torch.ones(k, dtype=torch.float64, device=device)
    b = torch.zeros_like(scale) if op.bias is None else tensors[op.bias].detach().double()
    for norm in op.norms:
        if isinstance(norm, Scale):
            factor = _factor(norm, tensors)
            scale, b = scale * factor, b * factor
            continue
        factor = (tensors[norm.var].detach().double() + norm.eps).rsqrt()
        if norm.weight is not None:
            factor = factor * tensors[norm.weight].detach().double()
        scale = scale * factor
        b = (b - tensors[norm.mean].detach().double()) * factor
        if norm.bias is not None:
            b = b + tensors[norm.bias].detach().double()
    return scale, b


def _factor(scale: Scale, tensors: TensorTable) -> Tensor | float:
    if isinstance(scale.factor, Source):
        return tensors[scale.factor].detach().double().reshape(-1)
    return scale.factor


def _scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """weight * scale in fp64, rounded once. numpy casts a few thousand numbers at a time; torch would write the whole
    weight in fp64 first, at four times the cost where that memory is fresh."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return (weight.double() * scale).to(torch.promote_types(weight.dtype, torch.float32))
    out = torch.empty(weight.shape, dtype=torch.float32)
    np.multiply(
        weight.numpy(), scale.numpy(), out=out.numpy(), dtype=np.float64, casting="same_kind"
    )
    return out
