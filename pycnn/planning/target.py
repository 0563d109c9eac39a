"""Where a plan runs, and what is different there: elements, kernels, how weights lie, the plan itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from pycnn.ir import Op, Shape
from pycnn.planning.draft import Draft
from pycnn.planning.formats import fresh, readable, strided
from pycnn.planning.params import Params
from pycnn.planning.step import Step
from pycnn.planning.tuned import Table, problem


class Plan(Protocol):
    """What runs a segment, in the hands of the target that built it."""

    @property
    def memory_bytes(self) -> int:
        """Of its values and workspace."""


Tensors = Sequence[Tensor]
Problem = tuple[str, Params]  # an op and its parameters


@dataclass(frozen=True)
class Target(ABC):
    """`threads`: of the plan at most. `batch_invariant`: the choice of kernels does not depend on the batch or the
    threads (what a kernel computes never does). `table`: choices that were measured, where the rule's is not wanted.
    `variant`: the kernel to take among `candidates`, for measuring. `fusing`: whether one kernel may do several ops of
    a graph (planning/fused.py). Targets that are equal choose the same kernels from one table."""

    threads: int = 1
    batch_invariant: bool = field(default=False, kw_only=True)
    table: Table | None = field(default=None, compare=False, kw_only=True)
    variant: int | None = field(default=None, kw_only=True)
    fusing: bool = field(default=True, kw_only=True)

    device = torch.device("cpu")
    dtype = torch.float32  # of the elements
    reads_nchw = True  # whether a convolution of few channels reads NCHW itself
    plane_writers: ClassVar[tuple[type[Op], ...]] = ()  # ops whose kernels write NCHW too
    by_image = True  # whether parts of a plan may run image by image
    bands = False  # whether two steps may take turns in bands of rows (planning/pairs.py)
    prologues = False  # whether 1x1 convolutions take a batch norm or a gate before them
    row_means = False  # whether a depthwise convolution may leave the means of its rows
    joins: ClassVar[tuple[type[Op], ...]] = ()  # ops of several nodes that have kernels here
    in_place = True  # whether kernels may write over an operand (planning/in_place.py)

    @property
    def without(self) -> tuple[type[Op], ...]:
        """Ops that have no kernels here."""
        return ()

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    @abstractmethod
    def name(self) -> str:
        """Of what runs it, for reports."""

    @abstractmethod
    def pixel_stride(self, c: int) -> int:
        """Elements between the pixels of a value of c channels that lies in the arena."""

    @abstractmethod
    def linear(self, params: Params) -> tuple[str, Params]:
        """The op that a fully connected layer is here, and its parameters."""

    @abstractmethod
    def complete(self, op: str, params: Params) -> Params:
        """The kernel's parameters with what the target adds to them."""

    def choose(self, op: str, params: Params, offset: int) -> str:
        """Name of the kernel for the problem, x being `offset` elements into its buffer. NotImplementedError: there is
        none."""
        if self.variant is not None:
            able = self.candidates(op, params, offset)
            return able[min(self.variant, len(able) - 1)]
        table, processor = self.table, self.processor
        if table is not None and not self.batch_invariant and table.knows(processor):
            found = table.find(processor, problem(op, params, self.threads))
            if found and found.kernel in self.candidates(op, params, offset):
                return found.kernel
        return self.rule(op, params, offset)

    @abstractmethod
    def rule(self, op: str, params: Params, offset: int = 0) -> str:
        """The choice where nothing was measured."""

    @abstractmethod
    def candidates(self, op: str, params: Params, offset: int = 0) -> Sequence[str]:
        """The kernels that take the problem, the rule's choice first."""

    @property
    @abstractmethod
    def processor(self) -> str:
        """What measured choices hold for."""

    @property
    def cache_bytes(self) -> int:
        """Of a cache that chunks of images should fit into (planning/chunks.py); 0: plans have no chunks."""
        return 0

    def predicted(self, step: Step, moved: float, cached: float) -> float:
        """Seconds of a step that moves so many bytes, of which some are in that cache, by a model; nothing is
        measured."""
        raise NotImplementedError(f"no model tells what a step takes on {self.name}")

    def is_shorter(self, whole: Problem, apart: Sequence[Problem]) -> bool:
        """Whether one kernel is predicted to take less time than several, by the same model."""
        return False

    @abstractmethod
    def takes(self, op: str, kernel: str, params: Params, offset: int) -> bool:
        """Whether that kernel can run the problem, x being `offset` elements into its buffer."""

    def alternatives(self, op: str, params: Params) -> Sequence[str]:
        """Kernels that may take the place of the one chosen, best first."""
        return ()

    def divisible(self) -> Target:
        """The target of plans that may run in parts: it chooses kernels whose bits do not depend on the parts."""
        return replace(self, fusing=False)

    def reads(self, op: str, params: Params, offset: int) -> bool:
        """Whether some kernel takes the problem with x as it lies, `offset` elements into its buffer."""
        return True

    def workspace_of(self, op: str, kernel: str, params: Params, workers: int) -> int:
        """Bytes that a step needs besides its operands."""
        return 0

    def workspace(self, draft: Draft) -> int:
        """Bytes of the most demanding step of the plan."""
        return 0

    def apart(self, elements: int) -> bool:
        """Whether a kernel may begin so many elements further on than it was chosen for."""
        return True

    @abstractmethod
    def pack(self, op: str, kernel: str, params: Params, weight: Tensor) -> Tensor:
        """The weights, contiguous in torch's order of axes, as the kernel reads them."""

    def packed_bytes(self, op: str, kernel: str, params: Params) -> int:
        """Bytes of packed weights, where they may lie in memory that is not the target's own; else 0."""
        return 0

    @abstractmethod
    def bias(self, bias: Tensor) -> Tensor:
        """A copy as kernels read it: a live bias edited in place must not reach plans half-way through a call."""

    @abstractmethod
    def operand(self, values: Tensor) -> Tensor:
        """A copy, contiguous, as a second operand that is a tensor of the model is read."""

    @abstractmethod
    def build(self, draft: Draft, workspace: int) -> Plan:
        """The runnable plan; `workspace`: bytes, as told for the draft."""

    @property
    def replays(self) -> bool:
        """Whether a plan's later calls may run by what was recorded of an earlier one."""
        return False

    def issued(self, plan: Plan) -> str:
        """How the plan's steps reach the device, in a few words; nothing where that is their own call."""
        return ""

    @abstractmethod
    def run(self, plan: Plan, inputs: Tensors, outputs: Tensors, replay: bool = True) -> None:
        """Fill the outputs; without `replay` step by step, whatever was recorded of them."""

    @abstractmethod
    def run_in(self, plan: Plan, memory: Tensor, inputs: Tensors, outputs: Tensors) -> None:
        """The same in the caller's memory, where values lie at their offsets afterwards."""

    @abstractmethod
    def times(
        self,
        plan: Plan,
        steps: Sequence[Step],
        parts: Sequence[int],
        inputs: Tensors,
        outputs: Tensors,
    ) -> list[int]:
        """As `run`, of a plan of these steps: nanoseconds of each. `parts`: as of Lowered."""

    def memory(self, size: int) -> Tensor:
        """At least `size` bytes for `run_in`, as elements, not initialised."""
        align = 64 // self.itemsize
        count = -(-size // self.itemsize) + align
        made = torch.empty(count, dtype=self.dtype, device=self.device)
        return made[-made.data_ptr() % 64 // self.itemsize :]

    def lends(self, shape: Shape) -> bool:
        """Whether a result of this shape lies in memory that earlier ones had."""
        return False

    def fresh(self, shape: Shape, channels_last: bool) -> Tensor:
        """A tensor for a result, not initialised."""
        return fresh(shape, strided(shape, channels_last), self.dtype, self.device)

    def readable(self, x: Tensor) -> Tensor:
        """x, or a copy whose memory the kernels read as it is."""
        return readable(x)


def addresses(tensors: Tensors) -> list[int]:
    """Where the tensors' memory begins."""
    return [t.data_ptr() for t in tensors]
