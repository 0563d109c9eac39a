"""A plan on a CUDA device: launches of one stream, and torch's own convolutions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pycnn.planning import cuda_device
from pycnn.planning.cuda_device import Clock
from pycnn.planning.own_op import OwnConvolution
from pycnn.planning.replay import Replay
from pycnn.planning.target import addresses


@dataclass(frozen=True)
class CudaPlan:
    """`plan` launches the steps. Before those of `own` torch's own op makes a tensor, which the step's launch reads as
    one more input, behind the `inputs` of a call. `own_bytes`: of the largest such tensor; `held`: what launches read
    by address. `memory`: makes an arena of so many bytes; torch's allocator keeps freed memory for later work of the
    same stream, so that it may go when the launches are on it. `replay`: records the launches."""

    plan: Any
    own: Mapping[int, OwnConvolution]
    inputs: int
    own_bytes: int
    held: Sequence[Tensor]
    device: torch.device
    memory: Callable[[int], Tensor]
    clock: Callable[[torch.device], Clock]
    replay: Replay | None = None
    _pieces: Sequence[tuple[int, int]] = field(init=False)  # of steps; each of `own` begins one

    def __post_init__(self) -> None:
        ends = sorted({0, *self.own, len(self.plan)})
        object.__setattr__(self, "_pieces", [*zip(ends, ends[1:], strict=False)])

    @property
    def memory_bytes(self) -> int:
        """Of its values and of what torch's own ops make."""
        return self.arena_bytes + self.own_bytes

    @property
    def arena_bytes(self) -> int:
        return int(self.plan.arena_bytes)

    def new_memory(self) -> Tensor:
        return self.memory(self.arena_bytes)

    def run(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], replay: bool = True) -> None:
        """Fill the outputs; with `replay` maybe by what was recorded of the launches."""
        with cuda_device.current(self.device):
            if not (replay and self._replayed(inputs, outputs)):
                self.run_in(self.new_memory(), inputs, outputs)

    def _replayed(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
        measures = self.own and torch.backends.cudnn.benchmark  # which cannot be recorded
        if self.replay is None or measures:
            return False
        return self.replay.run(self, inputs, outputs)

    def run_in(self, memory: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """The same in the caller's memory, where values lie at their offsets afterwards."""
        call = _Call(self, memory, inputs, outputs)
        with cuda_device.current(self.device):
            for begin, end in self._pieces:
                call.launch(begin, end)

    def run_timed(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[int]:
        """As `run`: nanoseconds of each step."""
        call = _Call(self, self.new_memory(), inputs, outputs)
        with cuda_device.current(self.device):
            clock = self.clock(self.device)
            clock.start(len(self.plan))
            for step in range(len(self.plan)):
                call.launch(step, step + 1)
                clock.mark()
            return clock.times()


class _Call:
    """One run of a plan, in pieces."""

    def __init__(
        self, plan: CudaPlan, memory: Tensor, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        self.plan, self.tensors = plan, (memory, inputs, outputs)
        self.inputs = [*addresses(inputs), *[0] * len(plan.own)]
        self.outputs = addresses(outputs)
        self.places = {step: plan.inputs + i for i, step in enumerate(plan.own)}

    def launch(self, begin: int, end: int) -> None:
        """Put steps `begin` up to `end` on the current stream; torch's own op may stand before the first."""
        own, made = self.plan.own.get(begin), None
        if own is not None:
            made = own(*self.tensors)
            self.inputs[self.places[begin]] = made.data_ptr()
        memory, stream = self.tensors[0].data_ptr(), cuda_device.stream(self.plan.device)
        self.plan.plan.run(memory, self.inputs, self.outputs, stream, begin, end)
