"""Converters of products: matmul, bmm, baddbmm and einsums, of two values or of a value and a matrix of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..ir import (
    Dim,
    Expand,
    Flatten,
    Linear,
    MatMul,
    Op,
    Permute,
    Rearrange,
    Reshape,
    Source,
    Torch,
    Unflatten,
    derive,
    expr_of,
    value_of,
)
from .arith import add
from .arith import mul as multiply
from .builder import Builder, Unsupported, Value, float_source, float_value
from .table import converts

_BOTH = (torch, torch.Tensor)


@converts("matmul", "__matmul__", where=_BOTH)
def matmul(g: Builder, input: Value | Source, other: Value | Source) -> Value:
    if isinstance(input, Source) and isinstance(other, Value):
        return _columns(g, input, float_value(other, "matmul: the second"))
    a = float_value(input, "matmul: the first")
    if isinstance(other, Source):
        return _layer(g, a, other)
    b = float_value(other, "matmul: the second")
    if a.rank < 2 or b.rank < 2 or a.rank < b.rank == 3:
        raise Unsupported(f"matmul: {a.rank} and {b.rank} axes are run by torch")
    if a.shape[-1] == 0:
        raise Unsupported("matmul: sums of no products are run by torch")
    batch = _batch(g, a, b)
    y = g.emit(MatMul(), _entries(g, a, batch), _entries(g, b, batch))
    if len(batch) == 1:
        return y
    return g.emit(Unflatten(0, tuple(batch)) if batch else Flatten(0, 1), y)


@converts("bmm", "mm", where=_BOTH)
def bmm(g: Builder, input: Value, mat2: Value) -> Value:
    return matmul(g, input, mat2)


@converts("__rmatmul__", where=(torch.Tensor,))
def rmatmul(g: Builder, input: Value | Source, other: Value | Source) -> Value:
    return matmul(g, other, input)


@converts("baddbmm", where=_BOTH)
def baddbmm(
    g: Builder, input: Any, batch1: Value, batch2: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    if any(isinstance(f, Dim) or type(f) not in (int, float) for f in (beta, alpha)):
        raise Unsupported("baddbmm: alpha or beta is no plain number")
    y = matmul(g, batch1, batch2)
    y = y if alpha == 1 else multiply(g, y, alpha)
    if beta == 0:
        return y
    made = add(g, y, input if beta == 1 else multiply(g, input, beta))
    if made.shape != y.shape:
        raise Unsupported("baddbmm: what is added is larger than the product")
    return made


@converts("einsum", where=(torch,))
def einsum(g: Builder, equation: str, *operands: Any) -> Value:
    """Two operands whose letters are those of a batch, of rows, of columns, and of what is summed."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], list) else operands
    if len(given) != 2 or not isinstance(equation, str):
        raise Unsupported("einsum: not of two operands")
    inputs, _, out = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    if isinstance(given[0], Value) and isinstance(given[1], Source):
        return _layer_of_letters(g, given[0], first, given[1], second, out)
    a, b = (float_value(x, "einsum: an operand") for x in given)
    letters = set(first) | set(second)
    plain = all(len(set(word)) == len(word) and word.isalpha() for word in (first, second, out))
    alone = (set(first) ^ set(second)) - set(out)
    if (
        not plain
        or alone
        or not set(out) <= letters
        or (len(first), len(second)) != (a.rank, b.rank)
    ):
        raise Unsupported(f"einsum: {equation!r} is no batched product")
    shared = [x for x in first if x in second and x not in out]
    batch = [x for x in out if x in first and x in second]
    rows = [x for x in out if x not in second]
    columns = [x for x in out if x not in first]
    if next((x in columns for x in out if x not in batch), False):  # as torch does
        return einsum(g, f"{second},{first}->{out}", b, a)
    if not shared:
        raise Unsupported(f"einsum: {equation!r} sums nothing")
    sizes = _sizes(g, (first, a), (second, b))
    left = _grouped(g, a, first, (batch, rows, shared), sizes)
    right = _grouped(g, b, second, (batch, shared, columns), sizes)
    y = g.emit(MatMul(), left, right)
    order = [*batch, *rows, *columns]
    moves: list[Op] = []
    if (len(rows), len(columns)) != (1, 1):
        moves.append(Reshape(tuple(sizes[x] for x in order)))
    elif len(batch) != 1:
        moves.append(Unflatten(0, tuple(sizes[x] for x in batch)) if batch else Flatten(0, 1))
    if order != list(out):
        moves.append(Permute(tuple(order.index(x) for x in out)))
    return _moved(g, y, moves)


def _layer(g: Builder, x: Value, matrix: Source) -> Value:
    """A product with a matrix of the model: a linear layer of its transpose."""
    float_source(g, matrix, "matmul: the second", axes=2)
    if x.rank < 2 or x.shape[-1] == 0:
        raise Unsupported(f"matmul: {x.rank} axes are run by torch")
    return g.emit(Linear(derive(g.tensors, Torch(torch.t, (matrix,)))), x)


def _columns(g: Builder, matrix: Source, x: Value) -> Value:
    """A matrix of the model times the columns of x: a linear layer of its rows."""
    float_source(g, matrix, "matmul: the first", axes=2)
    if x.rank < 2 or x.shape[-2] == 0:
        raise Unsupported(f"matmul: {x.rank} axes are run by torch")
    swap = Permute((*range(x.rank - 2), x.rank - 1, x.rank - 2))
    return g.emit(swap, g.emit(Linear(matrix), g.emit(swap, x)))


def _layer_of_letters(
    g: Builder, x: Value, word: str, matrix: Source, pair: str, out: str
) -> Value:
    """An einsum with a matrix of the model, "nchw,kc->nkhw": a linear layer along the letter that both have."""
    float_source(g, matrix, "einsum: an operand", axes=2)
    x = float_value(x, "einsum: an operand")
    shared, column = [c for c in pair if c in word], [c for c in pair if c not in word]
    rest = [c for c in word if c not in shared]
    plain = all(
        len(set(letters)) == len(letters) and letters.isalpha() for letters in (word, pair, out)
    )
    fits = (len(shared), len(column), len(word)) == (1, 1, x.rank)
    if not (plain and fits and sorted(out) == sorted(rest + column)):
        raise Unsupported(f"einsum: {word!r} and a matrix {pair!r} to {out!r} is no linear layer")
    order = tuple(map(word.index, rest + shared))
    if order != tuple(range(x.rank)):
        x = g.emit(Permute(order), x)
    rows = matrix if pair[1] == shared[0] else derive(g.tensors, Torch(torch.t, (matrix,)))
    y = g.emit(Linear(rows), x)
    back = tuple(map((rest + column).index, out))
    return y if back == tuple(range(y.rank)) else g.emit(Permute(back), y)


def _batch(g: Builder, a: Value, b: Value) -> list[int]:
    """The sizes of the leading axes, repeated as torch would."""
    own, others = g.sizes(a)[:-2], g.sizes(b)[:-2]
    short, long = sorted((own, others), key=len)
    short = [1] * (len(long) - len(short)) + short
    return [_common(g, x, y) for x, y in zip(short, long, strict=True)]


def _common(g: Builder, x: int, y: int) -> int:
    if expr_of(x) == expr_of(y):
        return x
    for one, other in ((x, y), (y, x)):
        if type(one) is int and one == 1:
            return other
    if not g.guard(x, "==", y):
        one, other = (x, y) if x == 1 else (y, x)
        g.guard(one, "==", 1)
        return other
    return x


def _entries(g: Builder, x: Value, batch: Sequence[int]) -> Value:
    """x, repeated over the leading axes, as [p, rows, columns]."""
    rows, columns = g.sizes(x)[-2:]
    moves: list[Op] = []
    if x.rank < len(batch) + 2:
        lead = [1] * (len(batch) + 2 - x.rank)
        moves.append(Reshape((*lead, *g.sizes(x))))
    own = [1] * (len(batch) + 2 - x.rank) + g.sizes(x)[:-2]
    if any(_repeats(size, to) for size, to in zip(own, batch, strict=True)):
        moves.append(Expand((*batch, rows, columns)))
    if len(batch) != 1:
        moves.append(Flatten(0, len(batch) - 1) if batch else Unflatten(0, (1, -1)))
    return _moved(g, x, moves)


def _repeats(size: int, to: int) -> bool:
    """Whether an axis is repeated, for this input or for another."""
    one = type(size) is int and size == 1
    return value_of(size) != value_of(to) or (one and type(to) is not int)


def _moved(g: Builder, x: Value, moves: Sequence[Op]) -> Value:
    if not moves:
        return x
    return g.emit(moves[0] if len(moves) == 1 else Rearrange(tuple(moves)), x)


def _sizes(g: Builder, *operands: tuple[str, Value]) -> dict[str, int]:
    """The size of each letter, one for both operands."""
    found: dict[str, int] = {}
    for word, x in operands:
        for letter, size in zip(word, g.sizes(x), strict=True):
            if not g.guard(found.setdefault(letter, size), "==", size):
                raise Unsupported(f"einsum: {letter!r} has two sizes")
    return found


def _grouped(
    g: Builder, x: Value, word: str, groups: Sequence[Sequence[str]], sizes: dict[str, int]
) -> Value:
    """x as [p, rows, columns], each axis of it one group of letters."""
    order = tuple(word.index(letter) for group in groups for letter in group)
    moves: list[Op] = [] if order == tuple(range(x.rank)) else [Permute(order)]
    shape: list[int] = []
    for group in groups:
        size = 1
        for letter in group:
            size = size * sizes[letter]
        shape.append(size)
    if any(len(group) != 1 for group in groups):
        moves.append(Reshape(tuple(shape)))
    return _moved(g, x, moves)
