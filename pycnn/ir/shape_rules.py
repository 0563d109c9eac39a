"""Small rules that the ops' shape inference shares; each raises ShapeError with the values."""

from __future__ import annotations

from .dim import Shape


class ShapeError(ValueError):
    """The graph does not hold for these shapes; the message says which node and why."""


def check_rank(shape: Shape, rank: int, name: str) -> Shape:
    if len(shape) != rank:
        raise ShapeError(f"{name}: x must have {rank} axes, got shape {list(shape)}")
    return shape


def window_count(padded: int, kernel: int, stride: int, dilation: int, name: str) -> int:
    reach = dilation * (kernel - 1) + 1
    if padded < reach:
        raise ShapeError(
            f"{name}: kernel {kernel} with dilation {dilation} is larger than the padded size {padded}"
        )
    return (padded - reach) // stride + 1


def check_same(shape: Shape, expected: Shape, what: str) -> None:
    if tuple(shape) != tuple(expected):
        raise ShapeError(f"{what} has shape {list(shape)}, expected {list(expected)}")


def check_broadcast(a: Shape, b: Shape, name: str) -> Shape:
    """The shape torch gives a o b."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    if any(x != y and 1 not in (x, y) for x, y in zip(left, right, strict=True)):
        raise ShapeError(f"{name}: shapes {list(a)} and {list(b)} do not broadcast")
    return tuple(y if x == 1 else x for x, y in zip(left, right, strict=True))
