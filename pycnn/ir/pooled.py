"""A convolution and the pooling of its map as one operation, for targets that have a kernel for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import Conv2d
from .dim import Shape
from .op import Op
from .pooling import Pool2d
from .source import TensorTable


@dataclass(frozen=True)
class PooledConv2d(Op):
    """y = pool(conv(x)); x [n, c, h, w]. Planning makes it of two nodes; captured graphs have none."""

    name: ClassVar[str] = "conv2d_pool"
    conv: Conv2d
    pool: Pool2d

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        return self.pool.infer(self.conv.infer(shapes, tensors), tensors)
