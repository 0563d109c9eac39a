"""Plans of fp32 and bf16 on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pycnn import _C
from pycnn.ir import PooledConv2d, Shape, Upsample
from pycnn.planning.draft import Draft
from pycnn.planning.formats import strides_of
from pycnn.planning.homes import FLOAT
from pycnn.planning.memory import align
from pycnn.planning.params import Params
from pycnn.planning.shares import durations, joined, shares_of
from pycnn.planning.step import Step
from pycnn.planning.target import Plan, Target, Tensors, addresses
from pycnn.planning.tuned import shared_table
from pycnn.processor import cpu_name

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_PAGE = 4096
_LINE = 64
LARGE = 4 << 20  # bytes of a result from which on the allocator may give its pages back each time
_EXACT = ("conv2d", "conv2d_pool")  # whose kernels would re-associate products
_IDLE_RESULTS = 2  # of a model: one call's result may live until the next one's is there


@dataclass(frozen=True)
class CpuTarget(Target):
    """`dtype` of the elements. `exact`: no kernel re-associates products. `arenas`: the memory plans run in; `results`:
    that of large results."""

    bands = True
    prologues = True
    plane_writers = (Upsample,)
    joins = (PooledConv2d,)
    dtype: torch.dtype = torch.float32
    exact: bool = False
    arenas: _C.Arenas | None = field(default=None, compare=False)
    results: _C.Arenas | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        isa = str(_C.machine()["isa"])
        return isa if self.dtype == torch.float32 else f"{isa} {DTYPES[self.dtype]}"

    @property
    def row_means(self) -> bool:  # type: ignore[override]
        return self.dtype == torch.float32

    def pixel_stride(self, c: int) -> int:
        """c, off multiples of 4 KiB, at which a tile's rows fall into one cache set."""
        return c + _LINE // self.itemsize if c * self.itemsize % _PAGE == 0 else c

    def linear(self, params: Params) -> tuple[str, Params]:
        return "linear", params

    def complete(self, op: str, params: Params) -> Params:
        return {**params, "exact": 1} if self.exact and op in _EXACT else params

    def rule(self, op: str, params: Params, offset: int = 0) -> str:
        if not self.batch_invariant:
            return _C.choose(op, params, self.threads, DTYPES[self.dtype])
        one = {**params, "n": 1} if "n" in params else params
        return _C.choose(op, one, 1, DTYPES[self.dtype])

    def candidates(self, op: str, params: Params, offset: int = 0) -> list[str]:
        """Of this instruction set."""
        first = self.rule(op, params)
        of = _C.kernels(op, params, DTYPES[self.dtype])
        able = [name for name, reason in of if reason is None]
        isa = first.rsplit("_", 1)[1]
        return [first, *(n for n in able if n != first and n.endswith(f"_{isa}"))]

    def takes(self, op: str, kernel: str, params: Params, offset: int) -> bool:
        return (kernel, None) in _C.kernels(op, params, DTYPES[self.dtype])

    def reads(self, op: str, params: Params, offset: int) -> bool:
        """What is pooled is a convolution that would be Winograd's by itself: whole windows lie in its tiles."""
        if op != "conv2d_pool":
            return True
        conv = {name: params[name] for name in _C.fields("conv2d") if name in params}
        alone = self.choose("conv2d", self.complete("conv2d", conv), offset)
        pooled = alone.replace("conv2d", op, 1)
        return pooled != f"{op}_reference" and self.takes(op, pooled, params, offset)

    def alternatives(self, op: str, params: Params) -> list[str]:
        return [] if self.batch_invariant else self.candidates(op, params)

    def workspace_of(self, op: str, kernel: str, params: Params, workers: int) -> int:
        return _C.workspace(op, kernel, params, workers) * FLOAT

    def workspace(self, draft: Draft) -> int:
        steps, workers = draft.steps, draft.workers
        shared = (self.workspace_of(s.op, s.kernel, s.params, workers) for s in steps)
        own = (
            align(self.workspace_of(s.op, s.kernel, s.params, 1)) * workers
            for span in draft.spans
            for s in steps[span.begin : span.end]
        )
        return max((*shared, *own), default=0)

    @property
    def processor(self) -> str:
        return f"{cpu_name()}, {self.name}"

    def pack(self, op: str, kernel: str, params: Params, weight: Tensor) -> Tensor:
        weight = weight.float()
        packed = floats(_C.packed_size(op, kernel, params))
        _C.pack(op, kernel, params, weight.data_ptr(), packed.data_ptr())
        return packed

    def packed_bytes(self, op: str, kernel: str, params: Params) -> int:
        return _C.packed_size(op, kernel, params) * FLOAT

    def bias(self, bias: Tensor) -> Tensor:
        return bias.to(torch.float32, copy=True).contiguous()

    def operand(self, values: Tensor) -> Tensor:
        return values.to(self.dtype).clone(memory_format=torch.contiguous_format)

    def build(self, draft: Draft, workspace: int) -> _C.Plan:
        plan = _C.Plan(
            draft.arena.total,
            workspace,
            draft.workers,
            draft.inputs,
            draft.outputs,
            draft.pool,
            self.arenas,
            draft.wakes,
        )
        for step in draft.steps:
            plan.add(step.op, step.kernel, step.params, *draft.slots(step))
        for span in draft.spans:
            plan.section(span.begin, span.end, span.images)
        return plan

    def lends(self, shape: Shape) -> bool:
        return self.results is not None and math.prod(shape) * self.itemsize >= LARGE

    def fresh(self, shape: Shape, channels_last: bool) -> Tensor:
        """Large ones in memory that results had before which are gone: their pages are present."""
        if self.results is None or not self.lends(shape):
            return super().fresh(shape, channels_last)
        count = math.prod(shape)
        memory = _C.Loan(self.results, count * self.itemsize)
        flat = torch.frombuffer(memory, dtype=self.dtype, count=count)
        y = torch.empty(0, dtype=self.dtype, device="cpu")
        return y.set_(flat.untyped_storage(), 0, shape, strides_of(shape, channels_last))

    def run(self, plan: Plan, inputs: Tensors, outputs: Tensors, replay: bool = True) -> None:
        assert isinstance(plan, _C.Plan)
        plan.run(addresses(inputs), addresses(outputs))

    def run_in(self, plan: Plan, memory: Tensor, inputs: Tensors, outputs: Tensors) -> None:
        assert isinstance(plan, _C.Plan)
        plan.run_in(memory.data_ptr(), addresses(inputs), addresses(outputs))

    def times(
        self,
        plan: Plan,
        steps: Sequence[Step],
        parts: Sequence[int],
        inputs: Tensors,
        outputs: Tensors,
    ) -> list[int]:
        assert isinstance(plan, _C.Plan)
        times = plan.run_timed(addresses(inputs), addresses(outputs))
        shares = list(joined(shares_of(times, plan.workers), parts, 0))
        return durations(shares, [step.images > 1 for step in steps])


def runs_bf16() -> bool:
    """Whether this machine runs the kernels of bf16: with AVX2 and more."""
    return any(reason is None for _, reason in _C.kernels("concat", {}, "bfloat16"))


def floats(count: int) -> Tensor:
    """Memory for kernels: [count], not initialised. The first use of as much of torch's costs more than packing it."""
    if count == 0:
        return torch.empty(0, dtype=torch.float32, device="cpu")
    return torch.frombuffer(_C.Buffer(count), dtype=torch.float32, count=count)


def targets(
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
    exact: bool = False,
    batch_invariant: bool = False,
) -> Callable[[], CpuTarget]:
    """What a plan made when it is called is for; threads: torch's setting, or those asked for, within the cores."""
    arenas, results, cores = _C.Arenas(), _C.Arenas(_IDLE_RESULTS), int(_C.machine()["cores"])
    table = None if batch_invariant else shared_table()

    def now() -> CpuTarget:
        wanted = torch.get_num_threads() if threads is None else threads
        count = max(1, min(wanted, cores))
        memory = arenas, results
        return CpuTarget(count, dtype, exact, *memory, batch_invariant=batch_invariant, table=table)

    return now
