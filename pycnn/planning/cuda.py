"""Plans on a CUDA device: launches of one stream, in an arena of torch's allocator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pycnn.ir import Attention, MatMul, Op, TimestepEmbedding
from pycnn.planning.draft import Draft
from pycnn.planning.params import Params
from pycnn.planning.target import Target

DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}
_PIECE = 16  # bytes that kernels move at once
_ONE_PIXEL = dict.fromkeys(("h", "w", "oh", "ow", "kh", "kw", "groups"), 1)


@dataclass(frozen=True)
class CudaTarget(Target):
    """`kernels`: the module that has them; `dtype` of the elements; `tf32`: whether products of fp32 may be
    rounded to it. `batch_invariant`: the choice of kernels does not depend on the batch."""

    kernels: ModuleType = field(kw_only=True)
    device: torch.device = field(kw_only=True)
    dtype: torch.dtype = field(kw_only=True)
    tf32: bool = field(kw_only=True)
    batch_invariant: bool = False

    reads_nchw = False
    by_image = False
    in_place = False  # operands are read by the way of memory that does not change during a launch

    @property
    def without(self) -> tuple[type[Op], ...]:
        return Attention, MatMul, TimestepEmbedding

    @property
    def name(self) -> str:
        return f"{self.device.type} {DTYPES[self.dtype]}"

    def pixel_stride(self, c: int) -> int:
        """c rounded up to whole pieces of 16 bytes."""
        piece = _PIECE // self.itemsize
        return -(-c // piece) * piece

    def linear(self, params: Params) -> tuple[str, Params]:
        """A 1x1 convolution, a row being an image of one pixel."""
        rest = {name: value for name, value in params.items() if name != "m"}
        return "conv2d", {"n": params["m"], **_ONE_PIXEL, **rest}

    def complete(self, op: str, params: Params) -> Params:
        return params

    def takes(self, op: str, kernel: str, params: Params, offset: int) -> bool:
        able = (kernel, DTYPES[self.dtype], None) in self.kernels.kernels(op, params)
        return able and (self.apart(offset) or self.choose(op, params, offset) == kernel)

    def apart(self, elements: int) -> bool:
        return elements * self.itemsize % _PIECE == 0

    def choose(self, op: str, params: Params, offset: int) -> str:
        asked = {**params, "n": 1} if self.batch_invariant and "n" in params else params
        aligned = offset * self.itemsize % _PIECE == 0
        found = self.kernels.choose(op, DTYPES[self.dtype], self.tf32, aligned, asked)
        if found is None:
            reasons = {why for _, of, why in self.kernels.kernels(op, params) if why}
            raise NotImplementedError(f"no CUDA kernel takes this {op}: it {'; it '.join(reasons)}")
        return str(found)

    def pack(self, op: str, kernel: str, params: Params, weight: Tensor) -> Tensor:
        weight = weight.float().cpu().contiguous()
        packed = torch.empty(self.kernels.packed_bytes(op, kernel, params), dtype=torch.uint8)
        self.kernels.pack(op, kernel, params, weight.data_ptr(), packed.data_ptr())
        return packed.to(self.device)

    def bias(self, bias: Tensor) -> Tensor:
        return bias.to(torch.float32, copy=True).contiguous()

    def operand(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype).clone(memory_format=torch.contiguous_format)

    def build(self, draft: Draft) -> CudaPlan:
        plan = self.kernels.Plan(draft.arena.total, draft.inputs, draft.outputs)
        for step in draft.steps:
            x, residual, weight, bias, y, _ = draft.slots(step)  # no kernel here takes a gate
            plan.add(step.op, step.kernel, step.params, x, residual, weight, bias, y)
        self.synchronize()  # weights were copied on one stream, and calls may come on another
        return CudaPlan(plan, self)

    def readable(self, x: Tensor) -> Tensor:
        x = super().readable(x)
        return x if x.data_ptr() % _PIECE == 0 else x.clone()

    def synchronize(self) -> None:
        """Wait for the device. RuntimeError while a CUDA graph is captured, in which nothing can be waited for."""
        if self.device.type != "cuda":
            return
        if torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "optimize: a plan must be made before a CUDA graph is captured; call warmup() with its shapes"
            )
        torch.cuda.synchronize(self.device)

    def current(self) -> Any:
        """The device made current, where it is not."""
        if self.device.type != "cuda" or torch.cuda.current_device() == self.device.index:
            return nullcontext()
        return torch.cuda.device(self.device)

    def stream(self) -> int:
        """The handle of torch's current stream on the device."""
        if self.device.type != "cuda":
            return 0
        return int(torch.cuda.current_stream(self.device).cuda_stream)


@dataclass(frozen=True)
class CudaPlan:
    """A plan with where its arena comes from: torch's allocator keeps freed memory for later work of the same stream,
    so that the arena may go when the launches are on it."""

    plan: Any
    target: CudaTarget
    workers: int = 1

    @property
    def memory_bytes(self) -> int:
        return int(self.plan.arena_bytes)

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        memory = self.target.memory(self.memory_bytes)
        self.run_in(memory.data_ptr(), inputs, outputs)

    def run_single(self, input: int, output: int) -> None:
        self.run([input], [output])

    def run_in(self, memory: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        with self.target.current():
            self.plan.run(memory, inputs, outputs, self.target.stream())


def targets(
    kernels: ModuleType,
    device: torch.device,
    dtype: torch.dtype,
    exact: bool = False,
    batch_invariant: bool = False,
) -> Callable[[], CudaTarget]:
    """What a plan made when it is called is for. TF32 follows torch's flag for convolutions; never with `exact`."""

    def now() -> CudaTarget:
        tf32 = dtype == torch.float32 and not exact and bool(torch.backends.cudnn.allow_tf32)
        return CudaTarget(
            kernels=kernels, device=device, dtype=dtype, tf32=tf32, batch_invariant=batch_invariant
        )

    return now
