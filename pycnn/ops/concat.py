"""Concatenation along any dimension; channels of maps by our kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pycnn.ops import _torch


def reference(tensors: Sequence[Tensor], dim: int = 1) -> Tensor:
    """torch's op."""
    return torch.cat(tuple(tensors), dim)


def _check(tensors: object, dim: int) -> list[Tensor]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(
            f"concat: tensors must be a sequence of Tensors, got {type(tensors).__name__}"
        )
    if len(tensors) == 0:
        raise ValueError("concat: tensors is empty")
    first = tensors[0]
    for i, t in enumerate(tensors):
        _torch.check_tensor("concat", f"tensors[{i}]", t)
    _torch.check_same("concat", first, **{f"tensors[{i}]": t for i, t in enumerate(tensors)})
    shapes = [tuple(t.shape) for t in tensors if t.shape != (0,)]  # torch.cat skips such tensors
    rank = len(shapes[0]) if shapes else 1
    if not -rank <= dim < rank:
        raise ValueError(f"concat: dim={dim} is not a dimension of tensors with {rank} dimensions")
    for shape in shapes:
        others = [d for d in range(rank) if d != dim % rank]
        if len(shape) != rank or any(shape[d] != shapes[0][d] for d in others):
            raise ValueError(f"concat: shapes {shapes[0]} and {shape} differ beside dim={dim}")
    return list(tensors)


def concat(tensors: Sequence[Tensor], dim: int = 1) -> Tensor:
    """Tensors one behind the other along ``dim``.

    ``y[n, c_0 + ... + c_{i-1} + c, h, w] = tensors[i][n, c, h, w]`` for dim 1

    Equivalent to: ``torch.cat(tensors, dim)``

    Args:
        tensors: a non-empty sequence; equal sizes beside ``dim``, same dtype and device. Channels (dim 1
            of 4) of fp32 maps on the CPU run our kernel; anything else, and a call that needs a
            gradient, runs torch's op.
        dim: the dimension, counted from the end when negative.

    Returns: a new tensor; channels_last if every source is.

    Raises:
        TypeError: not a sequence of tensors, or dtypes differ.
        ValueError: it is empty, or shapes or dim do not fit; the message has them.
    """
    given = _check(tensors, dim)
    if any(t.dim() != 4 for t in given) or dim not in (1, -3):
        _torch.log.debug("concat: torch's own op runs: not the channels of 4-d maps")
        return reference(given, dim)
    if _torch.falls_back("concat", *given):
        return reference(given, dim)
    y: Tensor = torch.ops.pycnn.concat.default(given, "")
    return y


def _fake(tensors: list[Tensor], kernel: str) -> Tensor:
    n, _, h, w = tensors[0].shape
    shape = (n, sum(t.shape[1] for t in tensors), h, w)
    return _torch.empty_map(tensors[0], shape, all(_torch.channels_last(t) for t in tensors))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.channels = [t.shape[1] for t in inputs[0]]


def _backward(ctx: Any, grad: Tensor) -> tuple[list[Tensor], None]:
    return list(torch.split(grad, ctx.channels, 1)), None


torch.library.register_fake("pycnn::concat", _fake)
torch.library.register_autograd("pycnn::concat", _backward, setup_context=_setup_context)
