"""CUDA kernels on guarded tensors: compiled by g++, a fiber for each CUDA thread, built once for the tests; or, with
PYCNN_TEST_DEVICE=cuda, those of pycnn._cuda on the GPU."""

from __future__ import annotations

import functools
import importlib
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.host_kernels import built

DEVICE = torch.device(os.environ.get("PYCNN_TEST_DEVICE", "cpu"))
ON_HOST = DEVICE.type == "cpu"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
GUARD = 64  # elements before and after each tensor, which a kernel may not touch
Params = dict[str, float]

on_host = pytest.mark.skipif(
    not ON_HOST, reason="a GPU does not let us choose the order of threads"
)


@functools.cache
def kernels() -> Any:
    """The module `cuda_host` of CMakeLists.txt, brought up to date; pycnn._cuda where it is to run on a GPU."""
    if not ON_HOST:
        torch.zeros(1, device=DEVICE)  # makes the context
        return importlib.import_module("pycnn._cuda")
    return built("cuda_host")


def allow_everything() -> Any:
    """The kernels, for plans: one by one, they are held to their tensors in the other tests."""
    module = kernels()
    if ON_HOST:
        module.configure(1, "")
        module.forbid_all()
        module.allow(1, 2**62, True, constant=True)
    return module


class Guarded:
    """`values`, as a tensor with rows of `ld` elements, in the middle of memory that must stay as it is."""

    def __init__(self, values: Tensor, ld: int | None = None, writable: bool = False) -> None:
        self.rows, self.c = values.shape
        self.ld = ld or self.c
        size = 2 * GUARD + self.rows * self.ld
        self.memory = torch.full((size,), torch.nan, dtype=values.dtype, device=DEVICE)
        self._of(self.memory).copy_(values)
        self.writable = writable

    def _of(self, memory: Tensor) -> Tensor:
        inner = memory[GUARD : GUARD + self.rows * self.ld]
        return inner.view(self.rows, self.ld)[:, : self.c]

    @property
    def view(self) -> Tensor:
        """The rows, on the CPU."""
        return self._of(self.memory.cpu())

    @property
    def pointer(self) -> int:
        return self.memory.data_ptr() + GUARD * self.memory.element_size()

    def allow(self, module: ModuleType) -> None:
        """Let kernels touch the rows."""
        count = (self.rows - 1) * self.ld + self.c if self.rows else 0
        module.allow(self.pointer, count * self.memory.element_size(), self.writable)

    def untouched(self) -> bool:
        """Whether all that lies around the rows and between them is NaN still."""
        rest = self.memory.clone()
        self._of(rest).fill_(torch.nan)
        return bool(rest.isnan().all())


def run(
    op: str,
    kernel: str,
    params: Params,
    x: Guarded,
    y: Guarded,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Guarded | None = None,
    seed: int = 1,
    drop: str = "",
    skip: int = 0,
    third: Guarded | None = None,
    gate: Guarded | None = None,
) -> list[str]:
    """One launch; the barriers it passed. The kernel sees x from element `skip` on, y, residual, gate, `third` where
    weights would be, and what belongs to it, no more."""
    module = kernels()
    packed = torch.zeros(module.packed_bytes(op, kernel, params) + 16, dtype=torch.uint8)
    start = -packed.data_ptr() % 16
    if weight is not None:
        module.pack(op, kernel, params, weight.contiguous().data_ptr(), packed.data_ptr() + start)
    if not ON_HOST:
        packed, start = packed[start:].to(DEVICE), 0
    bias = None if bias is None else bias.to(DEVICE)
    if ON_HOST:
        module.configure(seed, drop)
        module.forbid_all()
        for tensor in (x, y, residual, third, gate):
            if tensor is not None:
                tensor.allow(module)
        module.allow(packed.data_ptr() + start, packed.numel() - 16, False, constant=True)
        if bias is not None:
            module.allow(bias.data_ptr(), bias.numel() * 4, False, constant=True)
    w = 0 if weight is None else packed.data_ptr() + start
    w = w if third is None else third.pointer
    r, b = 0 if residual is None else residual.pointer, 0 if bias is None else bias.data_ptr()
    first = x.pointer + skip * x.memory.element_size()
    g = 0 if gate is None else gate.pointer
    module.run(op, kernel, params, first, r, w, b, y.pointer, 0, g)
    if ON_HOST:
        return list(module.sites())
    torch.cuda.synchronize()
    return []


@dataclass
class Ran:
    y: Guarded
    expected: Tensor
    bound: Tensor
    sites: list[str]

    def wrong(self) -> int:
        """Results further from fp64 than roundings explain, NaN among them."""
        return int((~((self.y.view.double() - self.expected).abs() <= self.bound)).sum())
