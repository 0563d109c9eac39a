"""A segment's steps with their kernels and homes, before memory is placed and weights are packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pycnn.ir import Node, Shape, Shapes, TensorTable, is_mean
from pycnn.planning import lower_arith, lower_matmul, lower_moves  # noqa: F401  (enter their ops)
from pycnn.planning import params as fields
from pycnn.planning.arena import Span, arrange
from pycnn.planning.draft import Draft
from pycnn.planning.formats import propagate
from pycnn.planning.homes import Homes, assign
from pycnn.planning.lower_ops import lower_node
from pycnn.planning.lowering import Lowering, Pins
from pycnn.planning.sections import Section, sections
from pycnn.planning.segments import Segment
from pycnn.planning.step import Step
from pycnn.planning.target import Target
from pycnn.planning.weights import Weights

# Multiply-adds of a call from which a sleeping thread is worth waking; and of a step, from which one that is awake
# anyway is worth a barrier.
_WAKE, _SHARE = 2e6, 2.5e4
_WORTH = 0.75


@dataclass(frozen=True)
class Given:
    """What a plan is made for.

    Attributes:
        nchw: which 4-d inputs are contiguous NCHW (the others are NHWC, pixels adjacent). channels_last: torch's memory
            format of each input. pool: run on our threads; else on OpenMP's. pins: kernels that are chosen already.
        means: layers may leave the means of their rows; the bits are the same.
    """

    segment: Segment
    shapes: Shapes
    nchw: Mapping[int, bool]
    channels_last: Mapping[int, bool]
    tensors: TensorTable
    weights: Weights
    target: Target
    pool: bool
    pins: Pins = field(default_factory=dict)
    means: bool = True


@dataclass
class Sketch:
    """`spans`: of steps that run image by image. `outputs`: shape of each, and whether it is channels_last."""

    given: Given
    work: Lowering
    spans: Sequence[Span]
    outputs: Sequence[tuple[Shape, bool]]
    workers: int
    wakes: bool

    def whole(self, keep: bool = False) -> Draft:
        """Every step as it is; with `keep` each value has bytes of its own."""
        return self.draft(self.work.steps, self.spans, self.workers, keep)

    def draft(
        self, steps: Sequence[Step], spans: Sequence[Span], workers: int, keep: bool = False
    ) -> Draft:
        """These steps, with their memory placed."""
        arena = arrange(steps, spans, self.work.homes, workers, keep)
        ends = len(self.given.segment.inputs), len(self.given.segment.outputs)
        return Draft(steps, spans, arena, *ends, workers, self.given.pool, self.wakes)


def usual(given: Given) -> Sketch:
    """Skips that live long are copied into their join late where that saves enough of the arena: a copy is a hundredth
    of a U-Net's time, which at batch 8 does with a third less."""
    first = sketched(given)
    if not first.work.homes.long:
        return first
    late = sketched(given, late=True)
    saves = late.whole().arena.total <= _WORTH * first.whole().arena.total
    return late if saves else first


def sketched(
    given: Given, by_image: bool = True, late: bool = False, copies: bool = False
) -> Sketch:
    """`by_image`: stretches that are worth it run so. `late`, `copies`: as `Homes` and `Lowering` say."""
    segment, shapes, target = given.segment, given.shapes, given.target
    formats = propagate(segment.nodes, given.channels_last, shapes, given.tensors)
    writers = target.plane_writers
    empty = Homes(shapes, target.pixel_stride, target.itemsize, late, target.in_place, writers)
    homes = assign(segment, empty, formats, dict(given.nchw))
    of = segment, shapes, homes, given.tensors, given.weights, target
    work = Lowering(*of, pins=given.pins, copies=copies)
    alone = by_image and target.by_image
    found = sections(segment, shapes, given.tensors) if alone else ()
    spans = _lower_nodes(work, found, given.means and target.row_means)
    for i, v in enumerate(segment.outputs):
        work.deliver(i, v, formats[v])
    effort = sum(fields.multiplies(s.op, s.params) * s.images for s in work.steps)
    wakes = effort >= _WAKE
    shared = wakes or (given.pool and effort >= _SHARE * len(work.steps))
    outputs = [(tuple(shapes[v]), formats[v]) for v in segment.outputs]
    return Sketch(given, work, spans, outputs, target.threads if shared else 1, wakes)


def _lower_nodes(work: Lowering, sections: Sequence[Section], means: bool) -> list[Span]:
    """Add the steps of all nodes; the sections as spans of steps."""
    spans: list[Span] = []
    done = 0
    for section in sections:
        _lower_stretch(work, work.segment.nodes[done : section.begin], means)
        first = len(work.steps)
        with work.section(section.images):
            _lower_stretch(work, work.segment.nodes[section.begin : section.end], means)
        spans.append(Span(first, len(work.steps), section.images))
        done = section.end
    _lower_stretch(work, work.segment.nodes[done:], means)
    return [span for span in spans if span.begin < span.end]


def _lower_stretch(work: Lowering, nodes: Sequence[Node], means: bool) -> None:
    """Nodes within a section, or between two."""
    work.averaged = frozenset(n.inputs[0] for n in nodes if is_mean(n.op)) if means else frozenset()
    work.means = {}
    for node in nodes:
        lower_node(work, node)
