"""Plans of fp32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pycnn import _C
from pycnn.planning.draft import Draft
from pycnn.planning.homes import FLOAT
from pycnn.planning.memory import align
from pycnn.planning.params import Params
from pycnn.planning.target import Target

_PAGE = 4096


@dataclass(frozen=True)
class CpuTarget(Target):
    """`exact`: no kernel re-associates products. `batch_invariant`: the choice of kernels does not depend on the batch
    or the threads (what a kernel computes never does). `arenas`: the memory plans run in."""

    exact: bool = False
    batch_invariant: bool = False
    arenas: _C.Arenas | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return str(_C.machine()["isa"])

    def pixel_stride(self, c: int) -> int:
        """c, off multiples of 4 KiB, at which a tile's rows fall into one cache set."""
        return c + 16 if c * FLOAT % _PAGE == 0 else c

    def linear(self, params: Params) -> tuple[str, Params]:
        return "linear", params

    def complete(self, op: str, params: Params) -> Params:
        return {**params, "exact": 1} if self.exact and op == "conv2d" else params

    def choose(self, op: str, params: Params, offset: int) -> str:
        if not self.batch_invariant:
            return _C.choose(op, params, self.threads)
        one = {**params, "n": 1} if "n" in params else params
        return _C.choose(op, one, 1)

    def pack(self, op: str, kernel: str, params: Params, weight: Tensor) -> Tensor:
        packed = floats(_C.packed_size(op, kernel, params))
        _C.pack(op, kernel, params, weight.data_ptr(), packed.data_ptr())
        return packed

    def bias(self, bias: Tensor) -> Tensor:
        return bias.clone().contiguous()

    def operand(self, values: Tensor) -> Tensor:
        return values.clone(memory_format=torch.contiguous_format)

    def build(self, draft: Draft) -> _C.Plan:
        plan = _C.Plan(
            draft.arena.total,
            _workspace(draft) * FLOAT,
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


def _workspace(draft: Draft) -> int:
    """Floats, of the most demanding step."""
    steps, workers = draft.steps, draft.workers
    shared = (_C.workspace(s.op, s.kernel, s.params, workers) for s in steps)
    own = (
        align(_C.workspace(s.op, s.kernel, s.params, 1) * FLOAT) // FLOAT * workers
        for span in draft.spans
        for s in steps[span.begin : span.end]
    )
    return max((*shared, *own), default=0)


def floats(count: int) -> Tensor:
    """Memory for kernels: [count], not initialised. The first use of as much of torch's costs more than packing it."""
    if count == 0:
        return torch.empty(0, dtype=torch.float32, device="cpu")
    return torch.frombuffer(_C.Buffer(count), dtype=torch.float32, count=count)


def targets(
    threads: int | None = None, exact: bool = False, batch_invariant: bool = False
) -> Callable[[], CpuTarget]:
    """What a plan made when it is called is for; threads: torch's setting, or those asked for, within the cores."""
    arenas, cores = _C.Arenas(), int(_C.machine()["cores"])

    def now() -> CpuTarget:
        wanted = torch.get_num_threads() if threads is None else threads
        return CpuTarget(max(1, min(wanted, cores)), exact, batch_invariant, arenas)

    return now
