"""Two layers of every pixel, as a target with a kernel for both runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .block import Block
from .dense import Conv2d


@dataclass(frozen=True)
class Mlp(Block):
    """y = project(expand(x)), 1x1 convolutions: [n, k, h, w]. x [n, c, h, w], and with `project.has_residual` r."""

    name: ClassVar[str] = "mlp"
    expand: Conv2d
    project: Conv2d

    @property
    def layers(self) -> tuple[Conv2d, ...]:
        return self.expand, self.project
