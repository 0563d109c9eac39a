"""Looking at every value a plan computes: the same kernels and weights, in memory that is not used twice."""

from __future__ import annotations

from torch import Tensor

from pycnn.ir import Shape
from pycnn.planning.homes import Home, Rows
from pycnn.planning.lower import Lowered
from pycnn.planning.program import Program
from pycnn.planning.segments import Segment
from pycnn.planning.situation import Situation


def observe(
    program: Program, segment: Segment, inputs: list[Tensor], now: Situation
) -> tuple[Lowered, dict[int, Tensor]]:
    """The plan that ran and every value of the segment: an output tensor, or a view of the memory it lies in.

    `inputs` are what `readable` gave. Values that a step keeps to itself have no memory and are not there.
    """
    lowered = program.planner.observable(segment, inputs, now)
    memory = lowered.target.memory(lowered.plan.memory_bytes)
    outputs = lowered.fresh_outputs()
    lowered.target.run_in(lowered.plan, memory, inputs, outputs)
    values = {}
    for node in segment.nodes:
        for value in node.outputs:
            root = lowered.homes.root(value)
            if root not in lowered.homes.of:
                continue
            home = lowered.homes[value]
            if home.kind == "arena":
                start = lowered.offsets[home.index] // lowered.target.itemsize
                values[value] = _view(memory[start:], home, now.shapes[value])
            else:
                tensor = (inputs if home.kind == "input" else outputs)[home.index]
                flat = tensor.as_strided((tensor.numel(),), (1,))
                values[value] = _view(flat, home, now.shapes[value])
    values.update(zip(segment.outputs, outputs, strict=True))
    return lowered, values


def _view(memory: Tensor, home: Home, shape: Shape) -> Tensor:
    """The value whose rows lie `home.ld` elements apart from `home.offset` on, in torch's order of axes."""
    rows = Rows.of(shape)
    stored = memory[home.offset :].as_strided((rows.count, rows.c), (home.ld, 1))
    if len(shape) == 4:
        n, c, h, w = shape
        return stored.reshape(n, h, w, c).permute(0, 3, 1, 2)
    return stored.reshape(shape)
