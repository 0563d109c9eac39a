"""Calls of a graph that is one plan from one tensor to one, without what other calls need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pycnn import _C
from pycnn.planning.lower import Lowered


@dataclass(frozen=True)
class Call:
    """What a direct call needs: one segment from one tensor to one.

    like: of the shape, dtype and strides of results that may lie in any new memory; empty_like takes half the time of
    empty. None: the target has the memory. plan: of results that do, where it takes addresses.
    """

    lowered: Lowered
    like: Tensor | None = None
    plan: _C.Plan | None = None

    def __call__(self, x: Tensor) -> Tensor:
        of = self.lowered
        if self.like is None:
            y = of.target.fresh(of.output_shapes[0], of.output_channels_last[0])
        else:
            y = torch.empty_like(self.like)
        of.target.run(of.plan, [of.target.readable(x)], [y])  # its address may be another
        return y
