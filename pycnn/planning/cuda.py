"""Plans on a CUDA device: launches of one stream, in an arena of torch's allocator."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import torch
from torch import Tensor

from pycnn.ir import (
    Attention,
    Excitation,
    InvertedResidual,
    Mlp,
    NormedConv2d,
    Op,
    PooledConv2d,
    SummedConv2d,
    TimestepEmbedding,
)
from pycnn.planning import cuda_device, own_op
from pycnn.planning.cuda_device import Clock
from pycnn.planning.cuda_plan import CudaPlan
from pycnn.planning.draft import NONE, Draft
from pycnn.planning.own_op import OwnConvolution
from pycnn.planning.params import Params, elements
from pycnn.planning.replay import Graphs, Recorder, Replay, shared_graphs
from pycnn.planning.step import Step
from pycnn.planning.target import Plan, Problem, Target, Tensors
from pycnn.planning.tuned import shared_table

DTYPES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}
# "1": on; off until a GPU's record says that it pays
CHUNKS = "PYCNN_CUDA_CHUNKS"
BLOCKS = "PYCNN_CUDA_BLOCKS"
_PIECE = 16  # bytes that kernels move at once
_ONE_PIXEL = dict.fromkeys(("h", "w", "oh", "ow", "kh", "kw", "groups"), 1)


@dataclass(frozen=True)
class CudaTarget(Target):
    """`kernels`: the module that has them; `dtype` of the elements; `tf32`: whether products of fp32 may be
    rounded to it. `chunks`: large batches may run some images at a time. `blocks`: several layers
    may be one kernel (planning/blocks.py). `clock`: what measures steps there.
    `recorder`, `graphs`: what records plans, and which are."""

    kernels: ModuleType = field(kw_only=True)
    device: torch.device = field(kw_only=True)
    dtype: torch.dtype = field(kw_only=True)
    tf32: bool = field(kw_only=True)
    clock: Callable[[torch.device], Clock] = field(
        default=cuda_device.clock, compare=False, kw_only=True
    )
    chunks: bool = field(default=False, kw_only=True)
    blocks: bool = field(default=False, kw_only=True)
    recorder: Recorder | None = field(default=None, compare=False, kw_only=True)
    graphs: Graphs = field(default=shared_graphs, compare=False, kw_only=True)

    prologues = True
    joins = (PooledConv2d, NormedConv2d, SummedConv2d, Excitation, Mlp, InvertedResidual)
    reads_nchw = False
    by_image = False
    in_place = False  # operands are read by the way of memory that does not change during a launch

    @property
    def without(self) -> tuple[type[Op], ...]:
        return Attention, TimestepEmbedding

    @property
    def name(self) -> str:
        return f"{self.device.type} {DTYPES[self.dtype]}"

    def pixel_stride(self, c: int) -> int:
        """c rounded up to whole pieces of 16 bytes."""
        piece = _PIECE // self.itemsize
        return -(-c // piece) * piece

    @property
    def cache_bytes(self) -> int:
        """Of the L2 of the GPU that the kernels' model of costs is of."""
        return int(self.kernels.gpu()["l2_bytes"]) if self.chunks else 0

    def predicted(self, step: Step, moved: float, cached: float) -> float:
        """Torch's own op is taken to be as fast as the rule's kernel."""
        own = own_op.is_own(step.kernel)
        kernel = self.rule(step.op, step.params, step.x.offset) if own else step.kernel
        asked = step.op, kernel, step.params, moved, 0.0, cached
        return float(self.kernels.predict(*asked)["seconds"])

    def is_shorter(self, whole: Problem, apart: Sequence[Problem]) -> bool:
        return self.blocks and self._seconds(*whole) < sum(self._seconds(*each) for each in apart)

    def _seconds(self, op: str, params: Params) -> float:
        """Predicted of the rule's kernel; of one image where the choice must not depend on how many there are."""
        asked = {**params, "n": 1} if self.batch_invariant else params
        moved = elements(op, asked) * self.itemsize
        return float(self.kernels.predict(op, self.rule(op, asked), asked, moved, 0.0)["seconds"])

    def linear(self, params: Params) -> tuple[str, Params]:
        """A 1x1 convolution, a row being an image of one pixel."""
        rest = {name: value for name, value in params.items() if name != "m"}
        return "conv2d", {"n": params["m"], **_ONE_PIXEL, **rest}

    def complete(self, op: str, params: Params) -> Params:
        return params

    def reads(self, op: str, params: Params, offset: int) -> bool:
        return bool(self._able(op, params, offset))

    def takes(self, op: str, kernel: str, params: Params, offset: int) -> bool:
        return kernel in self.candidates(op, params, offset)

    def apart(self, elements: int) -> bool:
        return elements * self.itemsize % _PIECE == 0

    def rule(self, op: str, params: Params, offset: int = 0) -> str:
        asked = {**params, "n": 1} if self.batch_invariant and "n" in params else params
        of = DTYPES[self.dtype], self.tf32, self.apart(offset)
        found = self.kernels.choose(op, *of, asked)
        if found is None:
            reasons = {why for _, _, why in self.kernels.kernels(op, params) if why}
            raise NotImplementedError(f"no CUDA kernel takes this {op}: it {'; it '.join(reasons)}")
        return str(found)

    def candidates(self, op: str, params: Params, offset: int = 0) -> list[str]:
        """torch's own op is the last; its choice of algorithms may depend on the batch."""
        first = self.rule(op, params, offset)
        able = [name for name in self._able(op, params, offset) if name != first]
        own = own_op.takes(op, params) and self.rounds_as_torch and not self.batch_invariant
        return [first, *able, *([own_op.kernel_of(op)] if own else [])]

    def _able(self, op: str, params: Params, offset: int) -> list[str]:
        """Our kernels that take the problem."""
        of = DTYPES[self.dtype], self.tf32, self.apart(offset)
        return list(self.kernels.candidates(op, *of, params))

    @property
    def rounds_as_torch(self) -> bool:
        """Whether torch's own convolution rounds products no more than this plan may."""
        return self.dtype != torch.float32 or self.tf32 or not torch.backends.cudnn.allow_tf32

    @property
    def processor(self) -> str:
        rounded = " tf32" if self.tf32 else ""
        return f"{cuda_device.name(self.device)}, {DTYPES[self.dtype]}{rounded}"

    def divisible(self) -> CudaTarget:
        return replace(self, table=None, recorder=None, fusing=False)

    @property
    def replays(self) -> bool:
        return self.recorder is not None

    def issued(self, plan: Plan) -> str:
        assert isinstance(plan, CudaPlan)
        return str(plan.replay or "no CUDA graph: it would keep memory beside memory_limit")

    def workspace_of(self, op: str, kernel: str, params: Params, workers: int) -> int:
        return own_op.result_bytes(params, self.itemsize) if own_op.is_own(kernel) else 0

    def workspace(self, draft: Draft) -> int:
        needs = (self.workspace_of(s.op, s.kernel, s.params, 1) for s in draft.steps)
        return max(needs, default=0)

    def pack(self, op: str, kernel: str, params: Params, weight: Tensor) -> Tensor:
        if own_op.is_own(kernel):
            return own_op.pack(op, params, weight, self.dtype, self.device)
        weight = weight.float().cpu().contiguous()
        packed = torch.empty(self.kernels.packed_bytes(op, kernel, params), dtype=torch.uint8)
        self.kernels.pack(op, kernel, params, weight.data_ptr(), packed.data_ptr())
        return packed.to(self.device)

    def bias(self, bias: Tensor) -> Tensor:
        return bias.to(torch.float32, copy=True).contiguous()

    def operand(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype).clone(memory_format=torch.contiguous_format)

    def build(self, draft: Draft, workspace: int) -> CudaPlan:
        numbers = [i for i, step in enumerate(draft.steps) if own_op.is_own(step.kernel)]
        plan = self.kernels.Plan(draft.arena.total, draft.inputs + len(numbers), draft.outputs)
        own: dict[int, OwnConvolution] = {}
        held: list[Tensor] = []
        for i, step in enumerate(draft.steps):
            slots = draft.slots(step)
            if i not in numbers:
                plan.add(step.op, step.kernel, step.params, *slots)
                continue
            assert step.packed is not None
            made = ("input", draft.inputs + len(own), 0, 0, 0)
            of_step = step.op, step.params, slots, step.packed.weight
            own[i] = OwnConvolution.of(*of_step, self.dtype)
            op, params = own_op.epilogue(step.op, step.params)
            kernel = self.rule(op, params)
            weights = own_op.ones(op, params, step.packed.weight)
            held.append(self.pack(op, kernel, params, weights))
            ones = ("const", held[-1].data_ptr())
            plan.add(op, kernel, params, made, slots[1], ones, slots[3], slots[4], NONE)
        # Weights were copied on one stream, calls may come on another.
        cuda_device.synchronize(self.device)
        of = draft.inputs, workspace, held, self.device, self.memory, self.clock
        replay = None if self.recorder is None else Replay(self.recorder, self.graphs)
        return CudaPlan(plan, own, *of, replay)

    def run(self, plan: Plan, inputs: Tensors, outputs: Tensors, replay: bool = True) -> None:
        assert isinstance(plan, CudaPlan)
        plan.run(inputs, outputs, replay)

    def run_in(self, plan: Plan, memory: Tensor, inputs: Tensors, outputs: Tensors) -> None:
        assert isinstance(plan, CudaPlan)
        plan.run_in(memory, inputs, outputs)

    def times(
        self,
        plan: Plan,
        steps: Sequence[Step],
        parts: Sequence[int],
        inputs: Tensors,
        outputs: Tensors,
    ) -> list[int]:
        assert isinstance(plan, CudaPlan)
        found = [0] * len(steps)
        for number, each in zip(parts, plan.run_timed(inputs, outputs), strict=True):
            if number >= 0:
                found[number] += each
        return found

    def readable(self, x: Tensor) -> Tensor:
        x = super().readable(x)
        return x if x.data_ptr() % _PIECE == 0 else x.clone()


def targets(
    kernels: ModuleType,
    device: torch.device,
    dtype: torch.dtype,
    exact: bool = False,
    batch_invariant: bool = False,
) -> Callable[[], CudaTarget]:
    """What a plan made when it is called is for. TF32 follows torch's flag for convolutions; never with `exact`."""
    table = None if batch_invariant else shared_table()
    recorder = cuda_device.GraphRecorder(device)

    def now() -> CudaTarget:
        tf32 = dtype == torch.float32 and not exact and bool(torch.backends.cudnn.allow_tf32)
        return CudaTarget(
            kernels=kernels,
            device=device,
            dtype=dtype,
            tf32=tf32,
            batch_invariant=batch_invariant,
            table=table,
            recorder=recorder,
            chunks=os.environ.get(CHUNKS) == "1",
            blocks=os.environ.get(BLOCKS) == "1",
        )

    return now
