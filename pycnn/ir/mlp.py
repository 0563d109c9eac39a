"""Two layers of every pixel as a target with a kernel for both runs them. Planning makes it of two nodes; captured
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
class Mlp(Op):
    """y = project(expand(x)), 1x1 convolutions: [n, k, h, w]. x [n, c, h, w], and with `project.has_residual` r."""

    name: ClassVar[str] = "mlp"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    expand: Conv2d
    project: Conv2d

    @property
    def layers(self) -> tuple[Conv2d, Conv2d]:
        return self.expand, self.project

    @property
    def has_residual(self) -> bool:
        return self.project.has_residual

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        between = self.expand.infer(shapes[:1], tensors)
        return self.project.infer([*between, *shapes[1:]], tensors)
