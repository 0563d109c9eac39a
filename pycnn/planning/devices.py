"""Which target a model and its inputs ask for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from pycnn.planning import cpu, cuda
from pycnn.planning.target import Target


class NoTargetError(Exception):
    """Why no plan can run there, in one sentence."""


def target_of(
    model: nn.Module,
    inputs: Sequence[Tensor],
    threads: int | None,
    exact: bool,
    batch_invariant: bool,
    cast: torch.dtype | None = None,
) -> Callable[[], Target]:
    """For what plans are made, as `cpu.targets` and `cuda.targets` tell it, the model being cast if so asked.
    NoTargetError: for nothing."""
    named = [*model.named_parameters(), *model.named_buffers()]
    named += [(f"input {i}", x) for i, x in enumerate(inputs)]
    devices = dict.fromkeys(t.device for _, t in named)
    if len(devices) > 1:
        first, other = (next(name for name, t in named if t.device == d) for d in [*devices][:2])
        one, two = [*devices][:2]
        raise NoTargetError(f"{first} is on {one}, {other} on {two}")
    (device,) = devices or (torch.device("cpu"),)
    dtypes = dict.fromkeys(cast or t.dtype for _, t in named if t.is_floating_point())
    if device.type == "cpu":
        found = next((d for d in dtypes if d in cpu.DTYPES), torch.float32)
        if found == torch.bfloat16 and not cpu.runs_bf16():
            found = torch.float32  # what is in bf16 runs in torch
        return cpu.targets(threads, found, exact, batch_invariant)
    if device.type != "cuda":
        raise NoTargetError(f"{named[0][0]} is on {device}")
    dtype = next((d for d in dtypes if d in cuda.DTYPES), None)
    if dtype is None:
        raise NoTargetError(f"no CUDA kernel for {', '.join(map(str, dtypes)) or 'integers'}")
    return cuda.targets(cuda_kernels(), device, dtype, exact, batch_invariant)


@functools.cache
def cuda_kernels() -> ModuleType:
    """The library of CUDA kernels. NoTargetError, in one sentence, where it is not there or does not load."""
    try:
        return importlib.import_module("pycnn._cuda")
    except ModuleNotFoundError:
        raise NoTargetError(
            "this pycnn was built without CUDA kernels: build it with PYCNN_CUDA=ON, an nvcc and a torch for CUDA"
        ) from None
    except ImportError as error:
        raise NoTargetError(f"the CUDA kernels do not load: {error}") from error
