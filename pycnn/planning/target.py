"""Where a plan runs, and what is different there: elements, kernels, how weights lie, the plan itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pycnn.ir import Op
from pycnn.planning.draft import Draft
from pycnn.planning.formats import readable
from pycnn.planning.params import Params


class Plan(Protocol):
    """What runs a segment. Operands are addresses of tensors' memory."""

    @property
    def memory_bytes(self) -> int:
        """Of its values and workspace."""

    def run(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Fill the outputs."""

    def run_single(self, input: int, output: int) -> None:
        """Of a plan from one tensor to one."""

    def run_in(self, memory: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """The same in the caller's memory, where values lie at their offsets afterwards."""


@dataclass(frozen=True)
class Target(ABC):
    """`threads`: of the plan at most. Equal targets choose the same kernels."""

    threads: int = 1

    device = torch.device("cpu")
    dtype = torch.float32  # of the elements
    reads_nchw = True  # whether a convolution of few channels reads NCHW itself
    by_image = True  # whether parts of a plan may run image by image
    prologues = False  # whether 1x1 convolutions take a batch norm or a gate before them
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

    @abstractmethod
    def choose(self, op: str, params: Params, offset: int) -> str:
        """Name of the kernel for the problem, x being `offset` elements into its buffer. NotImplementedError: there is
        none."""

    @abstractmethod
    def takes(self, op: str, kernel: str, params: Params, offset: int) -> bool:
        """Whether that kernel can run the problem, x being `offset` elements into its buffer."""

    def alternatives(self, op: str, params: Params) -> Sequence[str]:
        """Kernels that may take the place of the one chosen, best first."""
        return ()

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

    @abstractmethod
    def bias(self, bias: Tensor) -> Tensor:
        """A copy as kernels read it: a live bias edited in place must not reach plans half-way through a call."""

    @abstractmethod
    def operand(self, values: Tensor) -> Tensor:
        """A copy, contiguous, as a second operand that is a tensor of the model is read."""

    @abstractmethod
    def build(self, draft: Draft) -> Plan:
        """The runnable plan."""

    def memory(self, size: int) -> Tensor:
        """At least `size` bytes for `Plan.run_in`, as elements, not initialised."""
        align = 64 // self.itemsize
        count = -(-size // self.itemsize) + align
        made = torch.empty(count, dtype=self.dtype, device=self.device)
        return made[-made.data_ptr() % 64 // self.itemsize :]

    def readable(self, x: Tensor) -> Tensor:
        """x, or a copy whose memory the kernels read as it is."""
        return readable(x)
