"""Converters of attention and embedded time steps."""

from __future__ import annotations

import math
from typing import Any

import torch

from pycnn import ops

from ..ir import Attention, Flatten, Permute, Rearrange, TimestepEmbedding, Unflatten
from .builder import Builder, Unsupported, Value, float_value
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
    if attn_mask is not None or dropout_p or is_causal or enable_gqa:
        raise Unsupported("attention: a mask, dropout or shared heads are run by torch")
    if len({x.rank for x in (q, k, v)}) > 1 or q.rank not in (3, 4):
        raise Unsupported(f"attention: q, k and v have {q.rank}, {k.rank} and {v.rank} axes")
    width = int(g.same(q, q.rank - 1))
    factor = 1 / math.sqrt(width) if scale is None else float(scale)
    if q.rank == 3:
        return g.emit(Attention(1, factor), q, k, v)
    heads = int(g.same(q, 1))
    rows = [g.emit(Rearrange((_SWAP, Flatten(2, 3))), x) for x in (q, k, v)]
    y = g.emit(Attention(heads, factor), *rows)
    return g.emit(Rearrange((Unflatten(2, (heads, -1)), _SWAP)), y)


@converts("timestep_embedding", where=(ops,))
def timestep_embedding(
    g: Builder, steps: Value, width: int, *, cosine_first: bool = False, shift: float = 0.0
) -> Value:
    if not isinstance(steps, Value):
        raise Unsupported("timestep_embedding: the steps are no computed tensor")
    if g.dtype != torch.float32:
        raise Unsupported(f"timestep_embedding gives torch.float32, the kernels take {g.dtype}")
    return g.emit(TimestepEmbedding(width, cosine_first, float(shift), steps.dtype), steps)
