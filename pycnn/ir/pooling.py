"""Pooling over windows and over equal parts, and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from .dim import Shape
from .op import Int2, Mode, Op
from .shape_rules import ShapeError, check_rank
from .source import TensorTable


@dataclass(frozen=True)
class Pool2d(Op):
    """Max or average over windows, with every option of torch: x [n, c, h, w]."""

    name: ClassVar[str] = "pool2d"
    mode: Mode
    kernel: Int2
    stride: Int2
    padding: Int2 = (0, 0)
    dilation: Int2 = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, h, w = check_rank(shapes[0], 4, self.name)
        return ((n, c, self._out(h, 0), self._out(w, 1)),)

    def _out(self, size: int, axis: int) -> int:
        k, s, p, d = self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis]
        padded = size + 2 * p + (s - 1 if self.ceil_mode else 0)
        out = (padded - d * (k - 1) - 1) // s + 1
        if self.ceil_mode and (out - 1) * s >= size + p:
            out -= 1  # torch: the last window starts inside the image or its left padding
        if out < 1:
            raise ShapeError(
                f"pool2d: kernel {k} with dilation {d} is larger than the padded size {size + 2 * p}"
            )
        return out


@dataclass(frozen=True)
class AdaptivePool2d(Op):
    """Max or average over `output_size` equal parts: x [n, c, h, w]; output (1, 1) is global pooling."""

    name: ClassVar[str] = "adaptive_pool2d"
    mode: Mode
    output_size: Int2

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, _, _ = check_rank(shapes[0], 4, self.name)
        return ((n, c, *self.output_size),)


def is_mean(op: Op) -> bool:
    """Whether it takes the mean of each channel of an image."""
    return isinstance(op, AdaptivePool2d) and op.mode == "avg" and tuple(op.output_size) == (1, 1)


@dataclass(frozen=True)
class Upsample(Op):
    """x [n, c, h, w] at the given size, or at `factors` of its own, as F.interpolate."""

    name: ClassVar[str] = "upsample"
    mode: Literal["nearest", "bilinear"]
    align_corners: bool = False
    size: Int2 | None = None
    factors: tuple[float, float] | None = None

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, h, w = check_rank(shapes[0], 4, self.name)
        fh, fw = self.factors or (0.0, 0.0)
        oh, ow = self.size or (int(h * fh), int(w * fw))
        if min(oh, ow) < 1:
            raise ShapeError(f"upsample: the result of {h}x{w} would be {oh}x{ow}")
        return ((n, c, oh, ow),)
