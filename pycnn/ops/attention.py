"""Scaled dot-product attention of several heads."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops import _torch


def reference(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float) -> Tensor:
    """The torch composition."""
    q, k, v = (
        torch.unflatten(t, 2, (heads, t.shape[2] // heads)).transpose(1, 2) for t in (q, k, v)
    )
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, heads: int = 1, scale: float | None = None
) -> Tensor:
    """``y = softmax(scale * q kᵀ) v``, for each head by itself.

    "Attention Is All You Need", Vaswani et al. 2017 (arXiv 1706.03762).

    Equivalent to, where ``split(t) = t.unflatten(2, (heads, -1)).transpose(1, 2)``:
    ``F.scaled_dot_product_attention(split(q), split(k), split(v), scale=scale).transpose(1, 2).flatten(2)``

    Args:
        q: [n, l, heads * d], the queries. fp32 on the CPU runs our kernel, rows at one distance (slices of a wider
            projection) where they lie; anything else, and a call that needs a gradient, runs the composition above.
        k, v: [n, s, heads * d] and [n, s, heads * dv]; same dtype and device as q.
        heads: divides the channels; head j has the j-th part of them.
        scale: of the products; None: 1 / sqrt(d).

    Returns: [n, l, heads * dv], contiguous.

    Raises:
        TypeError: an argument is not a tensor, or dtypes differ.
        ValueError: shapes do not fit, heads does not divide the channels, or there are no keys; the message has the
            values.
    """
    for name, t in (("q", q), ("k", k), ("v", v)):
        _torch.check_tensor("attention", name, t, (3,))
    _torch.check_same("attention", q, k=k, v=v)
    n, _, c = q.shape
    if k.shape != (n, v.shape[1], c) or v.shape[0] != n:
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        raise ValueError(
            f"attention: q, k and v of shapes {shapes} are not [n, l, c], [n, s, c] and [n, s, cv]"
        )
    if not isinstance(heads, int) or heads < 1 or c % heads or v.shape[2] % heads:
        raise ValueError(f"attention: heads={heads} does not divide {c} and {v.shape[2]} channels")
    if 0 in k.shape[1:]:
        raise ValueError(f"attention: k of shape {tuple(k.shape)} has no keys")
    scale = 1 / math.sqrt(c // heads) if scale is None else float(scale)
    if _torch.falls_back("attention", q, k, v):
        return reference(q, k, v, heads, scale)
    y: Tensor = torch.ops.pycnn.attention.default(q, k, v, heads, scale, "")
    return y


def _raw_reference(
    q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, kernel: str
) -> Tensor:
    return reference(q, k, v, heads, scale)


def _fake(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, kernel: str) -> Tensor:
    return torch.empty((*q.shape[:2], v.shape[2]), dtype=q.dtype, device=q.device)


_torch.register("attention", _fake, _raw_reference, tensors=3)
