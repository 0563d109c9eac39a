"""Two steps by turns in bands of rows, so that what passes between them is never whole and stays in the caches.

Of those whose bands cost nothing: a batch norm alone and the pointwise convolution that reads it, where that does not
take it as its prologue; a network's first convolution and the pooling after it; a convolution and the depthwise window
that reads it. Bits are those of whole steps (planning/cuts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pycnn import _C
from pycnn.planning.arena import Span
from pycnn.planning.cuts import by_rows
from pycnn.planning.division import buffers_of, taken
from pycnn.planning.in_place import is_scale
from pycnn.planning.parts import Numbered, Parted, in_parts
from pycnn.planning.sketch import Sketch
from pycnn.planning.step import Step, uses_of

_BAND = int(_C.machine()["l2_bytes"]) // 2  # bytes of what passes, for each of the workers
# Bands that a map must have at least: in front of a depthwise window one that two caches hold gains nothing by them.
_LEAST, _LEAST_WINDOW = 2, 3


def in_pairs(sketch: Sketch) -> Parted | None:
    """The steps, pairs that are worth it in bands; None: there is no such pair."""
    if not sketch.given.target.bands:
        return None
    steps = sketch.work.steps
    whole, uses, found = list(enumerate(steps)), uses_of(steps), list[Numbered]()
    edges = {i for span in sketch.spans for i in (span.begin, span.end)}
    at = 0
    for first in _pairs(steps):
        alone = uses.get(steps[first].y.index) == (first, first + 1) and first + 1 not in edges
        if first < at or not alone:
            continue
        banded = _banded(sketch, whole[first : first + 2])
        if banded is not None:
            found += [*whole[at:first], *banded]
            at = first + 2
    found += whole[at:]
    return Parted(found, [_moved(span, found) for span in sketch.spans]) if at else None


def _pairs(steps: Sequence[Step]) -> Iterator[int]:
    """The first of each two."""
    for i, (step, reader) in enumerate(zip(steps, steps[1:], strict=False)):
        passes = step.y.kind == "arena" and reader.x == step.y and step.images == reader.images
        p = reader.params
        pointwise = reader.op == "conv2d" and p.get("kh", 1) * p.get("kw", 1) == 1
        norm, stem = is_scale(step) and pointwise, step.params.get("x_nchw")
        window = step.op == "conv2d" and _is_window(reader)
        if passes and (norm or window or (stem and reader.op == "pool2d")):
            yield i


def _is_window(step: Step) -> bool:
    """A depthwise convolution of more than one pixel."""
    p = step.params
    depthwise = step.op in ("conv2d", "conv2d_means") and p["groups"] == p["c"] == p["k"]
    return depthwise and p.get("kh", 1) * p.get("kw", 1) > 1


def _banded(sketch: Sketch, pair: Sequence[Numbered]) -> list[Numbered] | None:
    homes, shapes = sketch.work.homes, sketch.given.shapes
    (_, step), (_, reader) = pair
    images, window = step.images, _is_window(reader)
    size = homes.buffers[step.y.index] * homes.itemsize // images
    weights = 0 if window else reader.params["c"] * reader.params.get("k", 0) * homes.itemsize
    band = _BAND * (1 if images > 1 else max(sketch.workers, 2))
    bands = -(-size // band)
    if bands < (_LEAST_WINDOW if window else _LEAST) or weights > band:
        return None
    if images > 1:
        shapes = {v: (1, *s[1:]) if s[:1] == (images,) else s for v, s in shapes.items()}
    cuts = [by_rows(replace(each, images=1), shapes) for _, each in pair]
    known = [cut for cut in cuts if cut is not None]
    if len(known) < len(cuts):
        return None
    buffers = replace(buffers_of(sketch), sizes=homes.buffers)
    banded = in_parts(pair, known, bands, {step.y.index}, buffers)
    return banded if taken(sketch, banded) else None


def _moved(span: Span, steps: Sequence[Numbered]) -> Span:
    """Where its steps are among these."""
    inside = [i for i, (number, _) in enumerate(steps) if span.begin <= number < span.end]
    return replace(span, begin=inside[0], end=inside[-1] + 1)
