"""Two steps by turns in bands of rows, so that what passes between them is never whole and stays in the caches.

Of those whose bands cost nothing: a batch norm alone and the pointwise convolution that reads it, where that does not
take it as its prologue; a network's first convolution and the pooling after it. Bits are those of whole steps
(planning/cuts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pycnn.planning.cuts import by_rows
from pycnn.planning.division import buffers_of, taken
from pycnn.planning.in_place import is_scale
from pycnn.planning.parts import Numbered, in_parts
from pycnn.planning.sketch import Sketch
from pycnn.planning.step import Step, uses_of

_BAND = 1 << 20  # bytes of what passes: half the L2 of two cores, or one's


def in_pairs(sketch: Sketch) -> list[Numbered] | None:
    """The steps, pairs that are worth it in bands; None: there is no such pair."""
    steps = sketch.work.steps
    if sketch.spans:
        return None
    whole, uses, found = list(enumerate(steps)), uses_of(steps), list[Numbered]()
    at = 0
    for first in _pairs(steps):
        if first < at or uses.get(steps[first].y.index) != (first, first + 1):
            continue
        banded = _banded(sketch, whole[first : first + 2])
        if banded is not None:
            found += [*whole[at:first], *banded]
            at = first + 2
    return [*found, *whole[at:]] if at else None


def _pairs(steps: Sequence[Step]) -> Iterator[int]:
    """The first of each two."""
    for i, (step, reader) in enumerate(zip(steps, steps[1:], strict=False)):
        passes = step.y.kind == "arena" and reader.x == step.y
        p = reader.params
        pointwise = reader.op == "conv2d" and p.get("kh", 1) * p.get("kw", 1) == 1
        norm, stem = is_scale(step) and pointwise, step.params.get("x_nchw")
        if passes and (norm or (stem and reader.op == "pool2d")):
            yield i


def _banded(sketch: Sketch, pair: Sequence[Numbered]) -> list[Numbered] | None:
    homes = sketch.work.homes
    (_, step), (_, reader) = pair
    size = homes.buffers[step.y.index] * homes.itemsize
    weights = reader.params["c"] * reader.params.get("k", 0) * homes.itemsize
    cuts = [by_rows(each, sketch.given.shapes) for _, each in pair]
    bands = -(-size // _BAND)
    if bands < 2 or weights > _BAND or None in cuts:
        return None
    known = [cut for cut in cuts if cut is not None]
    banded = in_parts(pair, known, bands, {step.y.index}, buffers_of(sketch))
    return banded if taken(sketch, banded) else None
