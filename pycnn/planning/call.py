"""Calls of a graph that is one plan from one tensor to one, without what other calls need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pycnn import _C
from pycnn.planning.lower import Lowered


@dataclass(frozen=True)
class Call:
    """What a direct call needs: one segment from one tensor to one tensor."""

    lowered: Lowered

    def __call__(self, x: Tensor) -> Tensor:
        of = self.lowered
        return self._fill(x, of.target.fresh(of.output_shapes[0], of.output_channels_last[0]))

    def _fill(self, x: Tensor, y: Tensor) -> Tensor:
        of = self.lowered
        of.target.run(of.plan, [of.target.readable(x)], [y])  # its address may be another
        return y


@dataclass(frozen=True)
class LikeCall(Call):
    """Of a plan whose result is any new memory. `like`: of its shape, dtype and strides: empty_like takes half the time
    of empty."""

    like: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self._fill(x, torch.empty_like(self.like))


@dataclass(frozen=True)
class AddressCall(LikeCall):
    """Of a plan that takes addresses: no list on the way, of calls that take a few us."""

    plan: _C.Plan

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.empty_like(self.like)
        self.plan.run_single(x.data_ptr(), y.data_ptr())
        return y
