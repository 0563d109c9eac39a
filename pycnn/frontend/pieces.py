"""Parts of a tensor: x[:, a:b], x[0], narrow, select, and all pieces of chunk, split and unbind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..ir import Flatten, Identity, Op, Rearrange, Slice, Unflatten
from .builder import Builder, Unsupported, Value, float_value
from .calls import Call
from .table import converts

if TYPE_CHECKING:
    from .trace import Trace


def _slice(g: Builder, x: Value, dim: int, start: int, stop: int) -> Value:
    """x along `dim`, for every input that has as many entries there as at capture."""
    g.same(x, dim)
    return g.emit(Slice(dim, start, stop), x)


def drop(dim: int, rank: int) -> Flatten:
    """Without an axis of size 1."""
    return Flatten(dim, dim + 1) if dim + 1 < rank else Flatten(dim - 1, dim)


@converts("narrow", where=(torch, torch.Tensor), may_alias=True)
def narrow(g: Builder, input: Value, dim: int, start: int, length: int) -> Value:
    x = float_value(input, "narrow: x")
    if not isinstance(start, int) or not isinstance(length, int):
        raise Unsupported("narrow: a tensor as a bound")
    d = dim % x.rank
    first = start + _size(g, x, d) if start < 0 else start
    return g.emit(_cut(g, x, d, d, slice(first, first + length))[0], x)


@converts("select", where=(torch, torch.Tensor), may_alias=True)
def select(g: Builder, input: Value, dim: int, index: int) -> Value:
    x = float_value(input, "select: x")
    if type(index) is not int or x.rank < 2:
        raise Unsupported("select: not an entry of an axis")
    d = dim % x.rank
    at = index % g.same(x, d)
    return g.emit(Rearrange((Slice(d, at, at + 1), drop(d, x.rank))), x)


@converts("__getitem__", where=(torch.Tensor,), may_alias=True)
def getitem(g: Builder, input: Value, index: Any) -> Value:
    """Slices, entries and new axes."""
    x = float_value(input, "x[...]: x")
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(p is None or p is Ellipsis or type(p) in (slice, int) for p in parts):
        raise Unsupported("x[...]: an index is neither a slice nor a number")
    named = sum(p is not None and p is not Ellipsis for p in parts)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.rank - named)
    moves: list[Op] = []
    axis, rank, source = 0, x.rank, 0
    for part in parts:
        if part is None:
            end = axis == rank
            moves.append(Unflatten(axis - 1, (-1, 1)) if end else Unflatten(axis, (1, -1)))
            axis, rank = axis + 1, rank + 1
            continue
        moves += _cut(g, x, source, axis, part)
        source += 1
        if type(part) is int:
            moves.append(drop(axis, rank))
            rank -= 1
        else:
            axis += 1
    if not rank or not x.rank:
        raise Unsupported("x[...]: a scalar")
    if not moves:
        return g.emit(Identity(), x)
    return g.emit(moves[0] if len(moves) == 1 else Rearrange(tuple(moves)), x)


def _size(g: Builder, x: Value, axis: int) -> int:
    """A map's channels as they are at capture, where slices cost nothing; of other axes whatever it is."""
    return g.same(x, axis) if x.rank == 4 and axis == 1 else g.size(x, axis)


def _cut(g: Builder, x: Value, source: int, axis: int, part: slice | int) -> list[Op]:
    """The slice of what is x's axis `source` and `axis` by now; none where it is whole."""
    if isinstance(part, int):
        at = part % g.same(x, source)
        return [Slice(axis, at, at + 1)]
    if part == slice(None):
        return []
    bounds = [b for b in (part.start, part.stop) if b is not None]
    step = 1 if part.step is None else part.step
    if not all(isinstance(b, int) for b in bounds) or type(step) is not int or step < 1:
        raise Unsupported("x[...]: a slice backwards, or with a tensor as a bound")
    size = _size(g, x, source)

    def bound(given: int | None, otherwise: int) -> int:
        if given is None:
            return otherwise
        at = size + given if given < 0 else given
        return size if at > size else 0 if at < 0 else at

    start, stop = bound(part.start, 0), bound(part.stop, size)
    if not start < stop:
        raise Unsupported("x[...]: an empty slice")
    return [Slice(axis, start, stop, step)]


def _sizes(x: Value, call: Call) -> tuple[int, list[int]]:
    """(axis, sizes) of the pieces of a chunk, split or unbind."""

    def bound(
        input: Value,
        chunks: int = 0,
        dim: int = 0,
        split_size: Any = 0,
        split_size_or_sections: Any = 0,
    ) -> tuple[int, Any]:
        return dim % x.rank, chunks or split_size or split_size_or_sections

    if call.name == "unbind":
        axis = next(iter((*call.args[1:], *call.kwargs.values())), 0) % x.rank
        return axis, [1] * x.shape[axis]
    args = {"tensor": "input", "self": "input"}
    axis, asked = bound(*call.args, **{args.get(k, k): v for k, v in call.kwargs.items()})
    if isinstance(asked, (tuple, list)):
        return axis, [int(s) for s in asked]
    total, each = x.shape[axis], int(asked)
    if call.name == "chunk":
        each = -(-total // each)
    return axis, [min(each, total - at) for at in range(0, total, each)]


PIECES: frozenset[Callable[..., Any]] = frozenset(
    getattr(where, name) for name in ("chunk", "split", "unbind") for where in (torch, torch.Tensor)
)


def record_pieces(trace: Trace, call: Call, new: Sequence[Tensor]) -> str:
    """Add the slices that a chunk, split or unbind gives, `new` their twins; or say why not."""
    builder = trace.builder()
    made: list[tuple[Value, Call]] = []
    try:
        x = float_value(call.args[0], f"{call.name}: x")
        axis, sizes = _sizes(x, call)
        at = 0
        for size in sizes:
            if call.name == "unbind":
                piece = Call(torch.select, (x, axis, at), {})
                made.append((select(builder, x, axis, at), piece))
            else:
                piece = Call(torch.narrow, (x, axis, at, size), {})
                made.append((_slice(builder, x, axis, at, at + size), piece))
            at += size
    except (Unsupported, TypeError, ValueError, LookupError, ArithmeticError) as error:
        return str(error)
    if [v.shape for v, _ in made] != [tuple(t.shape) for t in new]:
        return f"{call.name} gives {[list(t.shape) for t in new]}"
    trace.add(builder.nodes)
    for (value, piece), twin in zip(made, new, strict=True):
        trace.calls[value.id] = piece
        trace.bind(twin, value.id)
    return ""
