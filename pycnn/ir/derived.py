"""A tensor that a Torch op makes of tensors of the model alone, as one of the model's."""

from __future__ import annotations

import torch

from .graph import sources
from .ops import Torch
from .source import Source, TensorTable
from .torch_op import run_torch_op


def derive(tensors: TensorTable, op: Torch, twin: torch.Tensor | None = None) -> Source:
    """The Source of what `op`, which reads no value, makes; `twin` is it on the meta device."""
    if twin is None:
        (twin,) = run_torch_op(op, [], tensors.meta, "meta")

    def compute() -> torch.Tensor:
        return run_torch_op(op, [], tensors.__getitem__)[0]

    return tensors.derive(op, compute, twin, sources(op))
