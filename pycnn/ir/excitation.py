"""Squeeze-and-excitation as a target with kernels for it runs it. Planning makes these of other nodes; captured graphs
have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import Conv2d
from .dim import Shape
from .op import Op
from .source import TensorTable


@dataclass(frozen=True)
class SummedConv2d(Op):
    """y = conv(x), a depthwise one, and in y's memory, behind it, the sums of each channel over an image's pixels."""

    name: ClassVar[str] = "conv2d_sums"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    conv: Conv2d

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        return self.conv.infer(shapes, tensors)


@dataclass(frozen=True)
class Excitation(Op):
    """y = expand(reduce(mean(x))), two 1x1 convolutions of the mean of each channel: [n, c, 1, 1]. x [n, c, h, w];
    `summed`: a SummedConv2d made it."""

    name: ClassVar[str] = "excitation"
    reduce: Conv2d
    expand: Conv2d
    summed: bool = False

    @property
    def layers(self) -> tuple[Conv2d, Conv2d]:
        return self.reduce, self.expand

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        pixel = (*shapes[0][:2], 1, 1)
        return self.expand.infer(self.reduce.infer([pixel], tensors), tensors)
