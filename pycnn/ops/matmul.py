"""Batched products of two tensors, scaled, with an addition."""

from __future__ import annotations

import torch
from torch import Tensor

from pycnn.ops import _torch


def reference(a: Tensor, b: Tensor, added: Tensor | None, scale: float) -> Tensor:
    """The torch composition."""
    y = torch.matmul(a, b)
    y = y if scale == 1 else y * scale
    return y if added is None else y + added


def matmul(a: Tensor, b: Tensor, *, added: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """``y[.., i, j] = scale * sum_c a[.., i, c] * b[.., c, j] + added[.., i, j]``, for each entry of the batch.

    Equivalent to: ``scale * torch.matmul(a, b) + added``

    Args:
        a: [.., m, c]; b: [.., c, k], same dtype and device. Leading axes broadcast. fp32 on the CPU runs our kernel,
            which reads transposed, sliced and expanded operands where they lie; anything else, and a call that needs a
            gradient, runs the composition above.
        added: a shape that broadcasts to the result's, as an attention's bias of each head does; or None.
        scale: of the products, before the addition.

    Returns: [.., m, k], contiguous.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: shapes do not fit, or a sum would have no products; the message has the values.
    """
    for name, t in (("a", a), ("b", b)):
        _torch.check_tensor("matmul", name, t)
    _torch.check_same("matmul", a, b=b, added=added)
    shape = _shape(a, b)
    if added is not None and not _repeats_to(added, shape):
        raise ValueError(
            f"matmul: added has shape {tuple(added.shape)}, which does not broadcast to {shape}"
        )
    if _torch.falls_back("matmul", a, b, added):
        return reference(a, b, added, scale)
    batch = shape[:-2]
    y: Tensor = torch.ops.pycnn.matmul.default(
        a.expand(*batch, *a.shape[-2:]),
        b.expand(*batch, *b.shape[-2:]),
        None if added is None else added.expand(shape),
        float(scale),
        "",
    )
    return y


def _shape(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """The result's; ValueError if the operands do not fit."""
    shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
    if a.dim() < 2 or b.dim() < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: a and b of shapes {shapes} are not [.., m, c] and [.., c, k]")
    if a.shape[-1] == 0:
        raise ValueError(f"matmul: a and b of shapes {shapes} have no products to add")
    more = b.dim() - a.dim()
    first, second = (1,) * more + tuple(a.shape[:-2]), (1,) * -more + tuple(b.shape[:-2])
    if any(x != y and 1 not in (x, y) for x, y in zip(first, second, strict=True)):
        raise ValueError(f"matmul: leading axes of {shapes} do not broadcast")
    batch = (y if x == 1 else x for x, y in zip(first, second, strict=True))
    return (*batch, a.shape[-2], b.shape[-1])


def _repeats_to(t: Tensor, shape: tuple[int, ...]) -> bool:
    ends = zip(reversed(t.shape), reversed(shape), strict=False)
    return t.dim() <= len(shape) and all(a in (1, b) for a, b in ends)


def _raw_reference(a: Tensor, b: Tensor, added: Tensor | None, scale: float, kernel: str) -> Tensor:
    return reference(a, b, added, scale)


def _fake(a: Tensor, b: Tensor, added: Tensor | None, scale: float, kernel: str) -> Tensor:
    return torch.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=a.device)


_torch.register("matmul", _fake, _raw_reference, tensors=3)
