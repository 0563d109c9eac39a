"""One segment, at one set of shapes and input formats, as a C++ plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pycnn import _C
from pycnn.ir import Shape, Shapes, TensorTable
from pycnn.planning import params as fields
from pycnn.planning.check import check
from pycnn.planning.formats import fresh, propagate, strided
from pycnn.planning.homes import FLOAT, Home, Homes, assign
from pycnn.planning.lower_ops import lower_node
from pycnn.planning.lowering import Lowering, Step
from pycnn.planning.memory import Block, Placement, place
from pycnn.planning.segments import Segment
from pycnn.planning.settings import Settings
from pycnn.planning.weights import Weights

_ONE_WORKER = 2e6  # multiply-adds below which waking a second thread costs more than it gives
Slot = tuple[str, int] | tuple[str, int, int]


@dataclass(frozen=True)
class Lowered:
    """A runnable plan with what `explain` tells about it."""

    plan: _C.Plan
    steps: tuple[Step, ...]
    output_shapes: tuple[Shape, ...]
    output_channels_last: tuple[bool, ...]
    arena_bytes: int
    workers: int
    homes: Homes
    offsets: Mapping[int, int]  # arena key -> bytes

    def fresh_outputs(self) -> list[Tensor]:
        """Tensors for the plan to fill."""
        pairs = zip(self.output_shapes, self.output_channels_last, strict=True)
        return [fresh(shape, strided(shape, last)) for shape, last in pairs]


def lower(
    segment: Segment,
    shapes: Shapes,
    nchw: Mapping[int, bool],
    channels_last: Mapping[int, bool],
    tensors: TensorTable,
    weights: Weights,
    settings: Settings,
    pool: bool,
    arenas: _C.Arenas,
    keep: bool = False,
) -> Lowered:
    """Choose kernels, place buffers, prove the placement, build the plan.

    `nchw`: which 4-d inputs are contiguous NCHW (the others are NHWC, pixels adjacent); `channels_last`: torch's memory
    format of each input. `pool`: run on our threads; else on OpenMP's. `arenas`: the memory it runs in. `keep`: no
    value's memory is used again.
    """
    formats = propagate(segment.nodes, channels_last, shapes, tensors)
    homes = assign(segment, shapes, formats, dict(nchw))
    work = Lowering(segment, shapes, homes, tensors, weights, settings)
    for node in segment.nodes:
        lower_node(work, node)
    for i, v in enumerate(segment.outputs):
        work.deliver(i, v, formats[v])
    work.pack()
    effort = sum(fields.multiplies(s.op, s.params) for s in work.steps)
    workers = settings.threads if effort >= _ONE_WORKER else 1
    placement = _placed(work.steps, homes, keep)
    plan = _build(segment, work.steps, placement, workers, pool, arenas)
    wanted = [(tuple(shapes[v]), formats[v]) for v in segment.outputs]
    return Lowered(
        plan,
        tuple(work.steps),
        tuple(s for s, _ in wanted),
        tuple(f for _, f in wanted),
        placement.total,
        workers,
        homes,
        placement.offsets,
    )


def _placed(steps: Sequence[Step], homes: Homes, keep: bool) -> Placement:
    """Offsets of the arena's buffers, proved; with `keep` each has bytes of its own."""
    spans: dict[int, list[int]] = {}
    for i, step in enumerate(steps):
        for home in (step.x, step.y, step.residual):
            if home is not None and home.kind == "arena":
                spans.setdefault(home.index, []).append(i)
    last = len(steps) - 1
    blocks = [
        Block(key, homes.buffers[key] * FLOAT, *((0, last) if keep else (at[0], at[-1])))
        for key, at in spans.items()
    ]
    placement = place(blocks)
    check(blocks, placement)
    return placement


def _build(
    segment: Segment,
    steps: Sequence[Step],
    placement: Placement,
    workers: int,
    pool: bool,
    arenas: _C.Arenas,
) -> _C.Plan:
    workspace = max((_C.workspace(s.op, s.kernel, s.params, workers) for s in steps), default=0)
    ends = len(segment.inputs), len(segment.outputs)
    plan = _C.Plan(placement.total, workspace * FLOAT, workers, *ends, pool, arenas)

    def slot(home: Home | None) -> Slot:
        if home is None:
            return ("none", 0)
        if home.kind == "arena":
            return ("arena", placement.offsets[home.index] + home.offset * FLOAT)
        return (home.kind, home.index, home.offset * FLOAT)

    none: Slot = ("none", 0)
    for s in steps:
        weight, bias = none, none
        if s.packed is not None:
            weight = ("const", s.packed.weight.data_ptr())
            if s.packed.bias is not None:
                bias = ("const", s.packed.bias.data_ptr())
        plan.add(s.op, s.kernel, s.params, slot(s.x), slot(s.residual), weight, bias, slot(s.y))
    return plan
