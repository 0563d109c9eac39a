"""Channel slices of a tensor: x[:, a:b], narrow, and all pieces of chunk and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..ir import Dim, Identity, Size, Slice
from .builder import Builder, Unsupported, Value, fp32_value
from .calls import Call
from .table import converts

if TYPE_CHECKING:
    from .trace import Trace


def _slice(g: Builder, x: Value, dim: int, start: int, stop: int) -> Value:
    """x along `dim`, for every input that has as many entries there as at capture."""
    if x.rank not in (2, 4) or dim != 1:
        raise Unsupported(f"slice: axis {dim} of {x.rank} is not the channels")
    g.guard(Dim(x.shape[dim], Size(x.id, dim)), "==", x.shape[dim])
    return g.emit(Slice(dim, start, stop), x)


@converts("narrow", where=(torch, torch.Tensor), may_alias=True)
def narrow(g: Builder, input: Value, dim: int, start: int, length: int) -> Value:
    x = fp32_value(input, "narrow: x")
    if type(start) is not int or type(length) is not int:
        raise Unsupported("narrow: a slice up to a size")
    axis = dim % x.rank
    first = start + x.shape[axis] if start < 0 else start
    return _slice(g, x, axis, first, first + length)


@converts("__getitem__", where=(torch.Tensor,), may_alias=True)
def getitem(g: Builder, input: Value, index: Any) -> Value:
    x = fp32_value(input, "x[...]: x")
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, Value)]:
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.rank - len(parts) + 1)
    if len(parts) > x.rank or not all(isinstance(p, slice) for p in parts):
        raise Unsupported("x[...]: an index is not a slice")
    cut = [d for d, p in enumerate(parts) if p != slice(None)]
    if not cut:
        return g.emit(Identity(), x)
    if len(cut) != 1 or parts[cut[0]].step not in (None, 1):
        raise Unsupported("x[...]: not one slice of step 1")
    bounds = (parts[cut[0]].start, parts[cut[0]].stop)
    if cut[0] != 1 or any(isinstance(b, Dim) for b in bounds):
        raise Unsupported("x[...]: a slice of other axes than the channels, or up to a size")
    start, stop, _ = slice(*bounds).indices(x.shape[1])
    return _slice(g, x, cut[0], start, stop)


def _sizes(x: Value, call: Call) -> tuple[int, list[int]]:
    """(axis, sizes) of the pieces of a chunk or split."""

    def bound(
        input: Value,
        chunks: int = 0,
        dim: int = 0,
        split_size: Any = 0,
        split_size_or_sections: Any = 0,
    ) -> tuple[int, Any]:
        return dim % x.rank, chunks or split_size or split_size_or_sections

    args = {"tensor": "input", "self": "input"}
    axis, asked = bound(*call.args, **{args.get(k, k): v for k, v in call.kwargs.items()})
    if isinstance(asked, (tuple, list)):
        return axis, [int(s) for s in asked]
    total, each = x.shape[axis], int(asked)
    if call.name == "chunk":
        each = -(-total // each)
    return axis, [min(each, total - at) for at in range(0, total, each)]


PIECES: frozenset[Callable[..., Any]] = frozenset(
    [torch.chunk, torch.Tensor.chunk, torch.split, torch.Tensor.split]
)


def record_pieces(trace: Trace, call: Call, new: Sequence[Tensor]) -> str:
    """Add the slices that a chunk or split gives, `new` their twins; or say why not."""
    builder = Builder(trace.tensors, trace.new_id, trace.path)
    made: list[tuple[Value, Call]] = []
    try:
        x = fp32_value(call.args[0], f"{call.name}: x")
        axis, sizes = _sizes(x, call)
        at = 0
        for size in sizes:
            piece = Call(torch.narrow, (x, axis, at, size), {})
            made.append((_slice(builder, x, axis, at, at + size), piece))
            at += size
    except (Unsupported, TypeError, ValueError, LookupError, ArithmeticError) as error:
        return str(error)
    if [v.shape for v, _ in made] != [tuple(t.shape) for t in new]:
        return f"{call.name} gives {[list(t.shape) for t in new]}"
    trace.nodes += builder.nodes
    for (value, piece), twin in zip(made, new, strict=True):
        trace.calls[value.id] = piece
        trace.bind(twin, value.id)
    return ""
