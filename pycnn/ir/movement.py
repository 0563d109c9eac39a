"""Operations that move or keep elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .op import Int2, Op, Pads
from .shape_rules import ShapeError, check_same
from .source import TensorTable


@dataclass(frozen=True)
class Concat(Op):
    """Join along `dim` (not negative)."""

    name: ClassVar[str] = "concat"
    arity: ClassVar[tuple[int, int]] = (1, 1 << 30)
    dim: int = 1

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        first, d = shapes[0], self.dim
        for shape in shapes[1:]:
            check_same(
                (*shape[:d], first[d], *shape[d + 1 :]), first, f"concat(dim={d}): an operand"
            )
        return ((*first[:d], sum(shape[d] for shape in shapes), *first[d + 1 :]),)


@dataclass(frozen=True)
class Slice(Op):
    """Entries start, start + step .. before stop along `dim`; nothing is negative."""

    name: ClassVar[str] = "slice"
    dim: int
    start: int
    stop: int
    step: int = 1

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x, d = shapes[0], self.dim
        if not 0 <= self.start < self.stop <= x[d]:
            raise ShapeError(f"slice: {self.start}:{self.stop} of axis {d} of {list(x)}")
        return ((*x[:d], len(range(self.start, self.stop, self.step)), *x[d + 1 :]),)


@dataclass(frozen=True)
class Flatten(Op):
    """Merge the axes start..end (both inclusive, not negative) into one."""

    name: ClassVar[str] = "flatten"
    start: int
    end: int

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x = shapes[0]
        return ((*x[: self.start], math.prod(x[self.start : self.end + 1]), *x[self.end + 1 :]),)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in NCHW order under another shape; one entry may be -1."""

    name: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        known, numel = math.prod(s for s in self.shape if s != -1), math.prod(shapes[0])
        out = tuple(numel // known if s == -1 and known else s for s in self.shape)
        if math.prod(out) != numel or -1 in out:
            raise ShapeError(f"reshape: {list(shapes[0])} does not fit {list(self.shape)}")
        return (out,)


@dataclass(frozen=True)
class Unflatten(Op):
    """Axis `dim` (not negative) becomes axes of these sizes, of which one may be -1."""

    name: ClassVar[str] = "unflatten"
    dim: int
    sizes: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x, d = shapes[0], self.dim
        known = math.prod(s for s in self.sizes if s != -1)
        parts = tuple(x[d] // known if s == -1 and known else s for s in self.sizes)
        if math.prod(parts) != x[d] or -1 in parts:
            raise ShapeError(f"unflatten: axis {d} of {list(x)} into {list(self.sizes)}")
        return ((*x[:d], *parts, *x[d + 1 :]),)


@dataclass(frozen=True)
class Permute(Op):
    """Axis d of the result is axis `dims[d]` (not negative) of x."""

    name: ClassVar[str] = "permute"
    dims: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x = shapes[0]
        if sorted(self.dims) != list(range(len(x))):
            raise ShapeError(f"permute: {list(self.dims)} of {list(x)}")
        return (tuple(x[d] for d in self.dims),)


@dataclass(frozen=True)
class Expand(Op):
    """Axes of size 1 repeated up to `shape`, which has as many axes."""

    name: ClassVar[str] = "expand"
    shape: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x = shapes[0]
        if len(x) != len(self.shape) or any(
            a not in (1, b) for a, b in zip(x, self.shape, strict=True)
        ):
            raise ShapeError(f"expand: {list(x)} to {list(self.shape)}")
        return (tuple(self.shape),)


@dataclass(frozen=True)
class Unfold(Op):
    """Windows of `size` entries of axis `dim` (not negative), `dilation` apart, every `step` of them: axis `dim` counts
    the windows, a last one their entries.  Windows may overlap."""

    name: ClassVar[str] = "unfold"
    dim: int
    size: int
    step: int
    dilation: int = 1

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x, d = shapes[0], self.dim
        reach = (self.size - 1) * self.dilation + 1
        if not 0 < reach <= x[d]:
            raise ShapeError(f"unfold: windows of {reach} along axis {d} of {list(x)}")
        return ((*x[:d], (x[d] - reach) // self.step + 1, *x[d + 1 :], self.size),)


@dataclass(frozen=True)
class Rearrange(Op):
    """Permutes, slices, windows, repetitions and changes of shape one after the other.

    keeps_format: torch has one function for it, whose result is channels_last where x is.
    """

    name: ClassVar[str] = "rearrange"
    moves: tuple[Op, ...]
    keeps_format: bool = False

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        for move in self.moves:
            shapes = move.infer(shapes, tensors)
        return (shapes[0],)


MOVES = (
    Expand,
    Flatten,
    Permute,
    Rearrange,
    Reshape,
    Slice,
    Unflatten,
    Unfold,
)  # an order of the same elements, or of some, or some of them again


@dataclass(frozen=True)
class Pad(Op):
    """Padding of two axes, the last two unless `axes` (negative, in order) says others, by `value`, or by what `mode`
    ("reflect", "replicate", "circular") says of x, as torch.nn.functional.pad; no entry of `pads` is negative."""

    name: ClassVar[str] = "pad"
    pads: Pads
    value: float = 0.0
    mode: str = "constant"
    axes: Int2 = (-2, -1)

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x, (top, left, bottom, right) = list(shapes[0]), self.pads
        h, w = (x[axis] for axis in self.axes)
        most = {"reflect": (h - 1, w - 1), "circular": (h, w)}.get(self.mode)
        if most is not None and (max(top, bottom) > most[0] or max(left, right) > most[1]):
            raise ShapeError(f"pad: {self.mode} by {list(self.pads)} of {list(shapes[0])}")
        for axis, size in zip(self.axes, (h + top + bottom, w + left + right), strict=True):
            x[axis] = size
        return (tuple(x),)


@dataclass(frozen=True)
class Identity(Op):
    """y = x: dropout in eval, clone, nn.Identity; contiguous, whose result lies as `layout` says ("nchw", "nhwc")."""

    name: ClassVar[str] = "identity"
    layout: str = ""
