"""An inverted residual block as a target with a kernel for it runs it. Planning makes it of three nodes; captured
graphs have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dense import Conv2d
from .dim import Shape
from .op import Op
from .source import TensorTable


@dataclass(frozen=True)
class InvertedResidual(Op):
    """y = project(depthwise(expand(x))): [n, k, oh, ow]. x [n, c, h, w], and with `project.has_residual` r."""

    name: ClassVar[str] = "inverted_residual"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    expand: Conv2d
    depthwise: Conv2d
    project: Conv2d

    @property
    def layers(self) -> tuple[Conv2d, ...]:
        return self.expand, self.depthwise, self.project

    @property
    def has_residual(self) -> bool:
        return self.project.has_residual

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        hidden = self.expand.infer(shapes[:1], tensors)
        middle = self.depthwise.infer(hidden, tensors)
        return self.project.infer([*middle, *shapes[1:]], tensors)
