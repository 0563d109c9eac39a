"""A depthwise convolution and the layer norm of its pixels as one operation, for targets with a kernel for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import Conv2d
from .dim import Shape
from .norms import LayerNorm
from .op import Op
from .source import TensorTable


@dataclass(frozen=True)
class NormedConv2d(Op):
    """y = norm(conv(x)); x [n, c, h, w], and with `conv.has_residual` r. Planning makes it of two nodes; captured
    graphs have none."""

    name: ClassVar[str] = "conv2d_layer_norm"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    conv: Conv2d
    norm: LayerNorm

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        return self.norm.infer(self.conv.infer(shapes, tensors), tensors)
