"""Stretches of a plan that run in chunks of images, so that what passes between their steps stays in a GPU's L2.

A layer's results for the whole batch may be larger than the L2, and then travel through memory twice; those of a few
images do not. What it costs is more launches, SMs without work in the last wave of each, and weights that share the L2.
The target's model of costs weighs one against the other (csrc/base/cuda/cost.h); chunks have the kernels of whole
steps, and their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from pycnn.planning.cuts import Cut, by_images
from pycnn.planning.division import buffers_of, images_of, taken
from pycnn.planning.own_op import is_own
from pycnn.planning.params import weights
from pycnn.planning.parts import Numbered, in_parts
from pycnn.planning.sketch import Sketch
from pycnn.planning.step import Step, operands, uses_of

_PART = 0.5  # of the L2 that a chunk may fill: an H100's has two halves, and what one asks of the other may lie in both
_MOST = 24  # steps of a stretch
_WORTH = 0.97  # of a stretch's time without chunks: more is no gain


@dataclass(frozen=True)
class Chunk:
    """Steps `begin` up to `end`, in so many turns; one turn: as they are. `seconds`: predicted."""

    begin: int
    end: int
    turns: int
    seconds: float


def in_chunks(sketch: Sketch) -> list[Numbered] | None:
    """The steps, stretches in chunks where the target predicts that it pays; None: nowhere."""
    found = chunks(sketch)
    if all(chunk.turns == 1 for chunk in found):
        return None
    whole, uses = [*enumerate(sketch.work.steps)], uses_of(sketch.work.steps)
    numbered: list[Numbered] = []
    for chunk in found:
        steps = whole[chunk.begin : chunk.end]
        if chunk.turns > 1:
            cuts = [cut for cut in _cuts(sketch)[chunk.begin : chunk.end] if cut is not None]
            inside = {key for key, used in uses.items() if _within(used, chunk.begin, chunk.end)}
            steps = in_parts(steps, cuts, chunk.turns, inside, buffers_of(sketch))
        numbered += steps
    return numbered if taken(sketch, numbered) else None


def chunks(sketch: Sketch) -> list[Chunk]:
    """All steps, cut into stretches and their turns so that the predicted time is least."""
    costs = _Costs.of(sketch)
    steps, room = sketch.work.steps, sketch.given.target.cache_bytes * _PART
    best = [
        Chunk(0, 0, 1, 0.0)
    ]  # the last stretch of the steps up to here, `seconds` being of all of them
    for end in range(1, len(steps) + 1):
        options = [Chunk(end - 1, end, 1, best[-1].seconds + costs.step(end - 1, 1, 0))]
        begin = end - 1
        while begin >= 0 and end - begin <= _MOST and costs.large(begin, room):
            if end - begin > 1:
                made = costs.stretch(begin, end, room)
                options += [Chunk(begin, end, t, best[begin].seconds + s) for t, s in made]
            begin -= 1
        best.append(min(options, key=lambda chunk: chunk.seconds))
    found: list[Chunk] = []
    while not found or found[-1].begin > 0:
        found.append(best[found[-1].begin if found else len(steps)])
    return found[::-1]


def _cuts(sketch: Sketch) -> list[Cut | None]:
    """Torch's own op stays whole: what it computes for an image may depend on how many there are."""
    shapes, images = sketch.given.shapes, images_of(sketch)
    return [
        None if is_own(step.kernel) else by_images(step, shapes, images)
        for step in sketch.work.steps
    ]


def _within(used: tuple[int, int], begin: int, end: int) -> bool:
    return begin <= used[0] and used[1] < end


@dataclass
class _Costs:
    """`sizes`: bytes of each step's operands and result, of all images; `weights` of its weights."""

    steps: Sequence[Step]
    cuts: Sequence[Cut | None]
    images: int
    uses: Mapping[int, tuple[int, int]]
    sizes: Sequence[Sequence[int]]
    weights: Sequence[int]
    step: Callable[
        [int, int, int], float
    ]  # of all turns: number, turns, bytes of all images that lie in the L2

    @classmethod
    def of(cls, sketch: Sketch) -> _Costs:
        steps, size = sketch.work.steps, sketch.work.homes.itemsize
        images, cuts, uses = images_of(sketch), _cuts(sketch), uses_of(steps)
        sizes = [_sizes(step, cut, images, size) for step, cut in zip(steps, cuts, strict=True)]
        weights = [_weights(step) * size for step in steps]
        made = cls(steps, cuts, images, uses, sizes, weights, lambda *_: 0.0)
        made.step = cache(partial(made._seconds, sketch.given.target.predicted))
        return made

    def _seconds(
        self, predicted: Callable[[Step, float, float], float], i: int, turns: int, cached: int
    ) -> float:
        """Weights come from memory in the first turn."""
        step, cut = self.steps[i], self.cuts[i]
        if turns > 1 and cut is not None:
            step = replace(step, params=cut.part(0, -(-self.images // turns)))
        moved, weights = sum(self.sizes[i]) / turns + self.weights[i], self.weights[i]
        first = predicted(step, moved, cached / turns)
        return first + (turns - 1) * predicted(step, moved, cached / turns + weights)

    def large(self, i: int, room: float) -> bool:
        """Whether the step can be cut, and its operands and result are more than the L2 holds."""
        return self.cuts[i] is not None and sum(self.sizes[i]) > room

    def stretch(self, begin: int, end: int, room: float) -> list[tuple[int, float]]:
        """Turns in which a chunk fits into `room`, and the predicted seconds, where those are worth it."""
        inside = {key for key, used in self.uses.items() if _within(used, begin, end)}
        if not inside:
            return []
        near = [self._near(i, inside) for i in range(begin, end)]
        most = max(sum(self.sizes[i]) for i in range(begin, end))
        usual = sum(self.step(i, 1, 0) for i in range(begin, end))
        weights, found, turns = sum(self.weights[begin:end]), [], 2
        while turns <= self.images:
            if most / turns + weights <= room:
                each = zip(range(begin, end), near, strict=True)
                seconds = sum(self.step(i, turns, n) for i, n in each)
                found += [(turns, seconds)] if seconds <= _WORTH * usual else []
            turns *= 2
        return found

    def _near(self, i: int, inside: set[int]) -> int:
        """Bytes of the step's operands and result that nothing outside the stretch reads or writes."""
        pairs = zip(operands(self.steps[i]), self.sizes[i], strict=True)
        return sum(n for home, n in pairs if home and home.kind == "arena" and home.index in inside)


def _sizes(step: Step, cut: Cut | None, images: int, itemsize: int) -> list[int]:
    """Bytes of x, residual, third and y."""
    c, k = int(step.params.get("c", 0)), int(step.params.get("k", step.params.get("c", 0)))
    found = []
    for role, home in enumerate(operands(step)):
        rows = 0 if home is None else home.image // home.ld * (1 if cut is None else images)
        found.append(rows * (c if role == 0 else k) * itemsize)
    return found


def _weights(step: Step) -> int:
    return int(weights(step.op, step.params))
