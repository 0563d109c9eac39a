"""An inverted residual block, as a target with a kernel for it runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .block import Block
from .dense import Conv2d


@dataclass(frozen=True)
class InvertedResidual(Block):
    """y = project(depthwise(expand(x))): [n, k, oh, ow]. x [n, c, h, w], and with `project.has_residual` r."""

    name: ClassVar[str] = "inverted_residual"
    expand: Conv2d
    depthwise: Conv2d
    project: Conv2d

    @property
    def layers(self) -> tuple[Conv2d, ...]:
        return self.expand, self.depthwise, self.project
