"""Converters of attention and embedded time steps."""

from __future__ import annotations

import math
from typing import Any

import torch

from pycnn import ops

from ..ir import Attention, Flatten, Permute, Rearrange, Source, TimestepEmbedding, Unflatten
from .arith import add
from .arith import mul as multiply
from .builder import Builder, Unsupported, Value, float_value
from .matmul import matmul
from .reduce import torch_softmax
from .table import converts

_SWAP = Permute((0, 2, 1, 3))  # [n, heads, l, d] <-> [n, l, heads, d]


@converts("scaled_dot_product_attention")
def attention(
    g: Builder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    q, k, v = (
        float_value(x, f"attention: {name}")
        for name, x in zip("qkv", (query, key, value), strict=True)
    )
    added = _is_float(g, attn_mask)
    if (attn_mask is not None and not added) or dropout_p or is_causal or enable_gqa:
        raise Unsupported("attention: a mask of numbers, dropout or shared heads are run by torch")
    if len({x.rank for x in (q, k, v)}) > 1 or q.rank not in (3, 4):
        raise Unsupported(f"attention: q, k and v have {q.rank}, {k.rank} and {v.rank} axes")
    width = int(g.same(q, q.rank - 1))
    factor = 1 / math.sqrt(width) if scale is None else float(scale)
    shared = q.rank == 4 and k.shape[1] == v.shape[1] == 1 != q.shape[1]
    if added or shared:
        return _products(g, q, k, v, factor, attn_mask)
    if q.rank == 3:
        return g.emit(Attention(1, factor), q, k, v)
    heads = int(g.same(q, 1))
    rows = [g.emit(Rearrange((_SWAP, Flatten(2, 3))), x) for x in (q, k, v)]
    y = g.emit(Attention(heads, factor), *rows)
    return g.emit(Rearrange((Unflatten(2, (heads, -1)), _SWAP)), y)


def _is_float(g: Builder, mask: Any) -> bool:
    """Whether the mask is added to the scores."""
    dtype = g.tensors.meta(mask).dtype if isinstance(mask, Source) else getattr(mask, "dtype", None)
    return dtype == g.dtype


def _products(g: Builder, q: Value, k: Value, v: Value, scale: float, bias: Any) -> Value:
    """With a bias, or None, and keys that all heads may share."""
    scores = matmul(g, q, g.emit(Permute((*range(k.rank - 2), k.rank - 1, k.rank - 2)), k))
    scores = multiply(g, scores, scale)
    weights = torch_softmax(g, scores if bias is None else add(g, scores, bias), -1)
    if weights.shape != scores.shape:
        raise Unsupported("attention: the mask is larger than the scores")
    return matmul(g, weights, v)


@converts("timestep_embedding", where=(ops,))
def timestep_embedding(
    g: Builder, steps: Value, width: int, *, cosine_first: bool = False, shift: float = 0.0
) -> Value:
    if not isinstance(steps, Value):
        raise Unsupported("timestep_embedding: the steps are no computed tensor")
    if g.dtype != torch.float32:
        raise Unsupported(f"timestep_embedding gives torch.float32, the kernels take {g.dtype}")
    return g.emit(TimestepEmbedding(width, cosine_first, float(shift), steps.dtype), steps)
