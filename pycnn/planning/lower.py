"""One segment, at one set of shapes and input formats, as a C++ plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from pycnn.ir import Shape
from pycnn.planning.chunks import in_chunks
from pycnn.planning.draft import Draft
from pycnn.planning.homes import Homes
from pycnn.planning.limit import Thrift, within
from pycnn.planning.lowering import Pins
from pycnn.planning.pairs import in_pairs
from pycnn.planning.parts import Parted
from pycnn.planning.sketch import Given, Sketch, usual
from pycnn.planning.step import Step
from pycnn.planning.target import Plan, Target


@dataclass(frozen=True)
class Lowered:
    """A runnable plan with what `explain` tells about it. `parts`: which of `steps` each of the plan's is, or a part
    of; -1: a copy between parts."""

    plan: Plan
    target: Target
    steps: tuple[Step, ...]
    output_shapes: tuple[Shape, ...]
    output_channels_last: tuple[bool, ...]
    arena_bytes: int
    workspace_bytes: int
    workers: int
    homes: Homes
    offsets: Mapping[int, int]  # arena key -> bytes
    constants: tuple[Tensor, ...] = ()  # that steps read by address
    parts: tuple[int, ...] = ()

    def fresh_outputs(self) -> list[Tensor]:
        """Tensors for the plan to fill."""
        pairs = zip(self.output_shapes, self.output_channels_last, strict=True)
        return [self.target.fresh(shape, last) for shape, last in pairs]

    def kernels(self) -> Pins:
        """For a plan of the same kernels."""
        return {(step.node.outputs[0], step.op): step.kernel for step in self.steps}


def lower(given: Given, thrift: Thrift | None = None, keep: bool = False) -> Lowered:
    """Choose kernels, place buffers, prove the placement, build the plan.

    `thrift`: the bytes it has to do with; MemoryLimitError where it cannot. `keep`: no value's memory is used again.
    """
    if thrift is None or keep:
        sketch = usual(given)
        parts = None if keep else _in_parts(sketch)
        parts = parts or Parted([*enumerate(sketch.work.steps)], sketch.spans)
        numbers = [number for number, _ in parts.steps]
        draft = sketch.draft([step for _, step in parts.steps], parts.spans, sketch.workers, keep)
    else:
        sketch, draft, numbers = within(given, thrift)
    return _built(sketch, draft, tuple(numbers))


def _in_parts(sketch: Sketch) -> Parted | None:
    if not sketch.given.target.cache_bytes:
        return in_pairs(sketch)
    chunks = in_chunks(sketch)
    return Parted(chunks, sketch.spans) if chunks else None


def _built(sketch: Sketch, draft: Draft, numbers: tuple[int, ...]) -> Lowered:
    work, target = sketch.work, sketch.given.target
    before = tuple(work.steps)
    work.pack()
    steps = [
        step
        if of < 0
        else work.steps[of]
        if step is before[of]
        else replace(step, packed=work.steps[of].packed)
        for of, step in zip(numbers, draft.steps, strict=True)
    ]
    draft = replace(draft, steps=steps)
    workspace = target.workspace(draft)
    return Lowered(
        target.build(draft, workspace),
        target,
        tuple(work.steps),
        tuple(shape for shape, _ in sketch.outputs),
        tuple(last for _, last in sketch.outputs),
        draft.arena.total,
        workspace,
        draft.workers,
        replace(work.homes, buffers={}),
        draft.arena.offsets,
        tuple(work.constants),
        numbers,
    )
