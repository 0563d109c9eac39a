"""Which steps of a segment run in parts: its images by turns, and stretches of layers of an image in bands of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pycnn.planning.cuts import Cut, Range, by_images, by_rows
from pycnn.planning.memory import align
from pycnn.planning.parts import Buffers, Numbered, by_part, in_parts
from pycnn.planning.sketch import Sketch
from pycnn.planning.step import operands, uses_of
from pycnn.planning.windows import Window, Windows


def images_of(sketch: Sketch) -> int:
    """The size of the first axis of the inputs that have more than one."""
    shapes = (sketch.given.shapes[v] for v in sketch.given.segment.inputs)
    return next((shape[0] for shape in shapes if len(shape) > 1), 1)


@dataclass(frozen=True)
class Divided:
    """`runs`: where the steps of each turn lie, in the longest stretch that is divided."""

    steps: list[Numbered]
    runs: list[Range]


def by_turns(sketch: Sketch, turns: int) -> Divided | None:
    """The steps, each stretch in which images are apart in so many turns; None: there is none, or a kernel does not
    take its part."""
    whole, images = list(enumerate(sketch.work.steps)), images_of(sketch)
    cuts = [by_images(step, sketch.given.shapes, images) for _, step in whole]
    uses, buffers = uses_of(sketch.work.steps), buffers_of(sketch)
    found: list[Numbered] = []
    runs: list[Range] = []
    at = 0
    for begin, end in _stretches(cuts):
        found += whole[at:begin]
        own = [cut for cut in cuts[begin:end] if cut is not None]
        inside = {key for key, (a, b) in uses.items() if begin <= a and b < end}
        longest = not runs or end - begin > runs[0][1] - runs[0][0]
        runs = [] if longest else runs
        for part in by_part(whole[begin:end], own, turns, inside, buffers):
            if longest:
                runs.append((len(found), len(found) + len(part)))
            found += part
        at = end
    found += whole[at:]
    return Divided(found, runs) if runs and taken(sketch, found) else None


def by_bands(sketch: Sketch) -> Iterator[list[Numbered]]:
    """The steps, image by image, with more and more stretches in bands of rows, while that needs less memory."""
    images = images_of(sketch)
    whole = list(enumerate(sketch.work.steps))
    turned = by_turns(sketch, images) if images > 1 else Divided(whole, [(0, len(whole))])
    if turned is None:
        return
    shapes, homes = sketch.given.shapes, sketch.work.homes
    one = {v: (1, *s[1:]) if s[:1] == (images,) else s for v, s in shapes.items()}
    begin, end = turned.runs[0]
    numbers = [[number for number, _ in turned.steps[a:b]] for a, b in turned.runs]
    if any(each != numbers[0] for each in numbers):
        return
    run, uses = turned.steps[begin:end], uses_of([step for _, step in turned.steps])
    cuts = [by_rows(step, one) for _, step in run]
    sizes = {key: align(size * homes.itemsize) for key, size in homes.buffers.items()}
    relative = {
        key: (max(a - begin, -1), min(b, end) - begin)
        for key, (a, b) in uses.items()
        if a < end and b >= begin
    }
    windows = Windows(run, cuts, relative, sizes, homes.itemsize, homes.in_place)
    for chosen in windows.found():
        found = _banded(turned, cuts, chosen, uses, buffers_of(sketch))
        if taken(sketch, found):
            yield found


def _banded(
    turned: Divided,
    cuts: Sequence[Cut | None],
    windows: Sequence[Window],
    uses: Mapping[int, Range],
    buffers: Buffers,
) -> list[Numbered]:
    """Every turn's windows in bands."""
    found: list[Numbered] = []
    at = 0
    for first, _ in turned.runs:
        for w in windows:
            begin, end = first + w.begin, first + w.end
            found += turned.steps[at:begin]
            own = [cut for cut in cuts[w.begin : w.end] if cut is not None]
            inside = {key for key, (a, b) in uses.items() if begin <= a and b < end}
            found += in_parts(turned.steps[begin:end], own, w.bands, inside, buffers)
            at = end
    return found + turned.steps[at:]


def buffers_of(sketch: Sketch) -> Buffers:
    """Where steps in parts get buffers and kernels of copies from."""
    return Buffers(sketch.work.fresh, sketch.given.target.choose)


def _stretches(cuts: Sequence[Cut | None]) -> list[Range]:
    """Of at least two steps that can be cut, one after the other."""
    found: list[Range] = []
    begin = 0
    for i, cut in enumerate((*cuts, None)):
        if cut is None:
            if i - begin > 1:
                found.append((begin, i))
            begin = i + 1
    return found


def taken(sketch: Sketch, steps: Sequence[Numbered]) -> bool:
    """Whether kernels take their parts, and may begin where those do."""
    target, original = sketch.given.target, sketch.work.steps
    for number, step in steps:
        if number < 0 or step is original[number]:
            continue
        before = zip(operands(step), operands(original[number]), strict=True)
        moved = [a.offset - b.offset for a, b in before if a is not None and b is not None]
        if not all(map(target.apart, moved)):
            return False
        if not target.takes(step.op, step.kernel, step.params, step.x.offset):
            return False
    return True
