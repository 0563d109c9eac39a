"""A batch norm and the convolution that alone reads it as one operation, for targets that have a kernel for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import BatchNorm, Conv2d
from .dim import Shape
from .op import Op
from .source import TensorTable


@dataclass(frozen=True)
class ScaledConv2d(Op):
    """y = conv(norm(x)); x [n, c, h, w], and with `conv.has_residual` r. Planning makes it of two nodes; captured
    graphs have none."""

    name: ClassVar[str] = "conv2d_scaled"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    norm: BatchNorm
    conv: Conv2d

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        normed = self.norm.infer(shapes[:1], tensors)
        return self.conv.infer([*normed, *shapes[1:]], tensors)
