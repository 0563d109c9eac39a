"""The reference interpreter on ops that move elements: pieces, joins, orders of axes, paddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import ops
from .interpret import run_op
from .source import TensorTable


@run_op.register
def _concat(op: ops.Concat, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return torch.cat(list(x), op.dim)


@run_op.register
def _slice(op: ops.Slice, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    index = (*([slice(None)] * op.dim), slice(op.start, op.stop, op.step))
    return x[0][index]


@run_op.register
def _flatten(op: ops.Flatten, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return x[0].flatten(op.start, op.end)


@run_op.register
def _reshape(op: ops.Reshape, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return x[0].reshape(op.shape)


@run_op.register
def _unflatten(op: ops.Unflatten, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return torch.unflatten(x[0], op.dim, op.sizes)


@run_op.register
def _permute(op: ops.Permute, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return x[0].permute(op.dims)


@run_op.register
def _expand(op: ops.Expand, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return x[0].expand(op.shape)


@run_op.register
def _unfold(op: ops.Unfold, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    reach = (op.size - 1) * op.dilation + 1
    return x[0].unfold(op.dim, reach, op.step)[..., :: op.dilation]


@run_op.register
def _rearrange(op: ops.Rearrange, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    y = x[0]
    for move in op.moves:
        y = run_op(move, [y], tensors)
    return y


@run_op.register
def _pad(op: ops.Pad, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    top, left, bottom, right = op.pads
    if op.mode == "constant":
        pads = [0] * (2 * x[0].dim())  # of the last axis first
        for axis, pair in zip(op.axes, ((top, bottom), (left, right)), strict=True):
            pads[-2 * axis - 2 : -2 * axis] = pair
        return F.pad(x[0], pads, value=op.value)
    maps = x[0].reshape(1, -1, *x[0].shape[-2:])
    y = F.pad(maps, (left, right, top, bottom), mode=op.mode)
    return y.reshape(*x[0].shape[:-2], *y.shape[-2:])


@run_op.register
def _identity(op: ops.Identity, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return x[0].clone()
