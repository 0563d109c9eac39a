"""Converters of what permutes and splits axes: transposes, axes of size 1, channel and pixel shuffles."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..ir import Expand, Op, Permute, Rearrange, Reshape, Unflatten
from .builder import Builder, Unsupported, Value, float_value, map_value
from .table import converts, reads

_BOTH = (torch, torch.Tensor)


@converts("permute", where=_BOTH, may_alias=True)
def permute(g: Builder, input: Value, *dims: Any) -> Value:
    x = float_value(input, "permute: x")
    order = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    return g.emit(Permute(tuple(int(d) % x.rank for d in order)), x)


@converts("transpose", "swapaxes", "swapdims", where=_BOTH, may_alias=True)
def transpose(g: Builder, input: Value, dim0: int, dim1: int) -> Value:
    x = float_value(input, "transpose: x")
    order = list(range(x.rank))
    a, b = dim0 % x.rank, dim1 % x.rank
    order[a], order[b] = order[b], order[a]
    return g.emit(Permute(tuple(order)), x)


@reads("mT")
def matrix_transpose(g: Builder, input: Value, *_: Any) -> Value:
    return transpose(g, input, -2, -1)


@converts("t", where=_BOTH, may_alias=True)
def t(g: Builder, input: Value) -> Value:
    x = float_value(input, "t: x")
    return transpose(g, x, 0, x.rank - 1)


@reads("T")
def transposed(g: Builder, input: Value, *_: Any) -> Value:
    x = float_value(input, "T: x")
    return g.emit(Permute(tuple(range(x.rank))[::-1]), x)


@converts("movedim", "moveaxis", where=_BOTH, may_alias=True)
def movedim(g: Builder, input: Value, source: Any, destination: Any) -> Value:
    x = float_value(input, "movedim: x")
    pairs = [(d,) if isinstance(d, int) else tuple(d) for d in (source, destination)]
    moved = {to % x.rank: d % x.rank for d, to in zip(*pairs, strict=True)}
    rest = iter(d for d in range(x.rank) if d not in moved.values())
    return g.emit(Permute(tuple(moved[d] if d in moved else next(rest) for d in range(x.rank))), x)


@converts("unsqueeze", where=_BOTH, may_alias=True)
def unsqueeze(g: Builder, input: Value, dim: int) -> Value:
    x = float_value(input, "unsqueeze: x")
    sizes = g.sizes(x)
    sizes.insert(dim % (x.rank + 1), 1)
    return g.emit(Reshape(tuple(sizes)), x)


@converts("squeeze", where=_BOTH, may_alias=True)
def squeeze(g: Builder, input: Value, dim: int) -> Value:
    x = float_value(input, "squeeze: x")
    sizes = g.sizes(x)
    one = g.guard(sizes[dim], "==", 1)
    if one:
        del sizes[dim]
    return g.emit(Reshape(tuple(sizes)), x)


@converts("expand", where=(torch.Tensor,), may_alias=True)
def expand(g: Builder, input: Value, *sizes: Any, implicit: bool = False) -> Value:
    x = float_value(input, "expand: x")
    asked = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    more = len(asked) - x.rank
    if more < 0 or not all(isinstance(s, int) for s in asked):
        raise Unsupported(f"expand: {asked} are no sizes for {x.rank} axes")
    own = [1] * more + g.sizes(x)
    to = tuple(
        mine if type(s) is int and s == -1 else s for s, mine in zip(asked, own, strict=True)
    )
    moves = (*([Reshape(tuple(own))] if more else []), Expand(to))
    return g.emit(moves[0] if len(moves) == 1 else Rearrange(moves), x)


@converts("expand_as", where=(torch.Tensor,), may_alias=True)
def expand_as(g: Builder, input: Value, other: Value) -> Value:
    return expand(g, input, g.sizes(float_value(other, "expand_as: other")))


@converts("unflatten", where=_BOTH, may_alias=True)
def unflatten(g: Builder, input: Value, dim: int, sizes: Any) -> Value:
    x = float_value(input, "unflatten: x")
    return g.emit(Unflatten(dim % x.rank, tuple(sizes)), x)


@converts("channel_shuffle", where=(torch, F))
def channel_shuffle(g: Builder, input: Value, groups: int) -> Value:
    """Channel i * (c / groups) + j goes to j * groups + i."""
    x = map_value(input, "channel_shuffle: x")
    n, _, h, w = g.sizes(x)
    c = g.same(x, 1)
    if c % groups:
        raise Unsupported(f"channel_shuffle: groups={groups} does not divide c={c}")
    split = Reshape((n, groups, c // groups, h, w))
    return _shuffle(g, x, split, Permute((0, 2, 1, 3, 4)), Reshape((n, c, h, w)))


@converts("pixel_shuffle", where=(torch, F))
def pixel_shuffle(g: Builder, input: Value, upscale_factor: int) -> Value:
    """Channel (k * r + a) * r + b of pixel (y, x) goes to channel k of pixel (y * r + a, x * r + b)."""
    x, r = map_value(input, "pixel_shuffle: x"), upscale_factor
    n, _, h, w = g.sizes(x)
    c = g.same(x, 1)
    if c % (r * r):
        raise Unsupported(f"pixel_shuffle: c={c} is no multiple of {r}**2")
    k = c // (r * r)
    split = Reshape((n, k, r, r, h, w))
    return _shuffle(g, x, split, Permute((0, 1, 4, 2, 5, 3)), Reshape((n, k, h * r, w * r)))


@converts("pixel_unshuffle", where=(torch, F))
def pixel_unshuffle(g: Builder, input: Value, downscale_factor: int) -> Value:
    """The inverse of pixel_shuffle."""
    x, r = map_value(input, "pixel_unshuffle: x"), downscale_factor
    n, _, h, w = g.sizes(x)
    c = g.same(x, 1)
    if not (g.guard(h % r, "==", 0) and g.guard(w % r, "==", 0)):
        raise Unsupported(f"pixel_unshuffle: {list(x.shape[2:])} is no multiple of {r}")
    split = Reshape((n, c, h // r, r, w // r, r))
    joined = Reshape((n, c * r * r, h // r, w // r))
    return _shuffle(g, x, split, Permute((0, 1, 3, 5, 2, 4)), joined)


def _shuffle(g: Builder, x: Value, *moves: Op) -> Value:
    return g.emit(Rearrange(moves, keeps_format=True), x)
