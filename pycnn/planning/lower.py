"""One segment, at one set of shapes and input formats, as a C++ plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pycnn.ir import Shape, Shapes, TensorTable
from pycnn.planning import lower_moves  # noqa: F401  (enters its ops into the table)
from pycnn.planning import params as fields
from pycnn.planning.arena import Span, arrange
from pycnn.planning.draft import Draft
from pycnn.planning.formats import fresh, propagate, strided
from pycnn.planning.homes import Homes, assign
from pycnn.planning.lower_ops import lower_node
from pycnn.planning.lowering import Lowering
from pycnn.planning.sections import Section, sections
from pycnn.planning.segments import Segment
from pycnn.planning.step import Step
from pycnn.planning.target import Plan, Target
from pycnn.planning.weights import Weights

# Multiply-adds of a call from which a sleeping thread is worth waking; and of a step, from which one that is awake
# anyway is worth a barrier.
_WAKE, _SHARE = 2e6, 2.5e4


@dataclass(frozen=True)
class Lowered:
    """A runnable plan with what `explain` tells about it."""

    plan: Plan
    target: Target
    steps: tuple[Step, ...]
    output_shapes: tuple[Shape, ...]
    output_channels_last: tuple[bool, ...]
    arena_bytes: int
    workers: int
    homes: Homes
    offsets: Mapping[int, int]  # arena key -> bytes
    constants: tuple[Tensor, ...] = ()  # that steps read by address

    def fresh_outputs(self) -> list[Tensor]:
        """Tensors for the plan to fill."""
        pairs = zip(self.output_shapes, self.output_channels_last, strict=True)
        of = self.target.dtype, self.target.device
        return [fresh(shape, strided(shape, last), *of) for shape, last in pairs]


def lower(
    segment: Segment,
    shapes: Shapes,
    nchw: Mapping[int, bool],
    channels_last: Mapping[int, bool],
    tensors: TensorTable,
    weights: Weights,
    target: Target,
    pool: bool,
    keep: bool = False,
) -> Lowered:
    """Choose kernels, place buffers, prove the placement, build the plan.

    `nchw`: which 4-d inputs are contiguous NCHW (the others are NHWC, pixels adjacent); `channels_last`: torch's memory
    format of each input. `pool`: run on our threads; else on OpenMP's. `keep`: no value's memory is used again.
    """
    formats = propagate(segment.nodes, channels_last, shapes, tensors)
    empty = Homes(shapes, target.pixel_stride, target.itemsize)
    homes = assign(segment, empty, formats, dict(nchw))
    work = Lowering(segment, shapes, homes, tensors, weights, target)
    spans = _lower_nodes(work, sections(segment, shapes, tensors) if target.by_image else ())
    for i, v in enumerate(segment.outputs):
        work.deliver(i, v, formats[v])
    work.pack()
    effort = sum(fields.multiplies(s.op, s.params) * s.images for s in work.steps)
    wakes = effort >= _WAKE
    shared = wakes or (pool and effort >= _SHARE * len(work.steps))
    workers = target.threads if shared else 1
    arena = arrange(work.steps, spans, homes, workers, keep)
    ends = len(segment.inputs), len(segment.outputs)
    draft = Draft(work.steps, spans, arena, *ends, workers, pool, wakes)
    wanted = [(tuple(shapes[v]), formats[v]) for v in segment.outputs]
    return Lowered(
        target.build(draft),
        target,
        tuple(work.steps),
        tuple(s for s, _ in wanted),
        tuple(f for _, f in wanted),
        arena.total,
        workers,
        homes,
        arena.offsets,
        tuple(work.constants),
    )


def _lower_nodes(work: Lowering, sections: Sequence[Section]) -> list[Span]:
    """Add the steps of all nodes; the sections as spans of steps."""
    spans: list[Span] = []
    done = 0
    for section in sections:
        for node in work.segment.nodes[done : section.begin]:
            lower_node(work, node)
        first = len(work.steps)
        with work.section(section.images):
            for node in work.segment.nodes[section.begin : section.end]:
                lower_node(work, node)
        spans.append(Span(first, len(work.steps), section.images))
        done = section.end
    for node in work.segment.nodes[done:]:
        lower_node(work, node)
    return [span for span in spans if span.begin < span.end]
