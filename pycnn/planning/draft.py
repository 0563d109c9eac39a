"""All that a plan is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycnn.planning.arena import Arena, Slot, Span
from pycnn.planning.step import Step

NONE: Slot = ("none", 0)


@dataclass(frozen=True)
class Draft:
    """Steps with their operands placed.

    Attributes:
        spans: of steps that run image by image. workers: threads; wakes: sleeping ones are woken.
        inputs, outputs: how many. pool: run on our threads, not on OpenMP's.
    """

    steps: Sequence[Step]
    spans: Sequence[Span]
    arena: Arena
    inputs: int
    outputs: int
    workers: int = 1
    pool: bool = True
    wakes: bool = True

    def slots(self, step: Step) -> tuple[Slot, Slot, Slot, Slot, Slot, Slot]:
        """x, residual, w, bias, y, gate as a plan names them."""
        weight, bias, gate = self.arena.slot(step.third), NONE, NONE
        if step.packed is not None:
            weight, gate = ("const", step.packed.weight.data_ptr()), weight
            if step.packed.bias is not None:
                bias = ("const", step.packed.bias.data_ptr())
        x, residual, y = (self.arena.slot(home) for home in (step.x, step.residual, step.y))
        return x, residual, weight, bias, y, gate
