"""Plans that keep within a number of bytes: in another order, in parts, with smaller workspaces, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pycnn.planning.arena import Span
from pycnn.planning.division import by_bands, by_turns, images_of
from pycnn.planning.draft import Draft
from pycnn.planning.in_place import written_over
from pycnn.planning.memory import align
from pycnn.planning.order import by_liveness
from pycnn.planning.pairs import in_pairs
from pycnn.planning.parts import Numbered
from pycnn.planning.sketch import Given, Sketch, sketched, usual
from pycnn.planning.step import Step, uses_of
from pycnn.planning.windows import alive


class MemoryLimitError(MemoryError):
    """A call needs more memory than `memory_limit` allows; nothing was run. `needed`: the limit that would do."""

    def __init__(self, limit: int, needed: int) -> None:
        super().__init__(
            f"memory_limit={limit} bytes is too small for this call, which needs {needed}"
        )
        self.limit, self.needed = limit, needed


@dataclass(frozen=True)
class Thrift:
    """`limit`: bytes for the memory of a plan and `outside`, the values that lie elsewhere while it runs."""

    limit: int
    outside: int = 0


@dataclass
class _Form:
    """One way to run the steps. `least`: bytes that are alive at once, which no placement is below."""

    sketch: Sketch
    steps: list[Step]
    numbers: list[int]
    spans: Sequence[Span]
    least: int

    def draft(self, workers: int, smallest: bool, budget: int) -> Draft:
        draft = self.sketch.draft(self.steps, self.spans, workers)
        if not smallest or self.spans:
            return draft
        return replace(draft, steps=_thrifty(self, draft, budget - align(draft.arena.total)))


def within(given: Given, thrift: Thrift) -> tuple[Sketch, Draft, list[int]]:
    """The first way to run the segment that keeps within the limit, those that cost least time first.

    In this order: another order of the nodes, images or bands of rows by turns, all with the bits of the plan without a
    limit; then kernels with smaller workspaces; then one thread, whose workspace is one.
    """
    budget = thrift.limit - thrift.outside
    forms: list[_Form] = []
    found = None
    for form in _forms(given):
        forms.append(form)
        found = _fits(form, budget, form.sketch.workers, smallest=False)
        if found is not None:
            break
    for workers in dict.fromkeys((given.target.threads, 1)):
        for form in forms if found is None else ():
            found = found or _fits(form, budget, min(workers, form.sketch.workers), smallest=True)
    if found is None:
        needs = [_need(form.sketch, form.draft(1, True, 0)) for form in forms]
        raise MemoryLimitError(thrift.limit, min(needs) + thrift.outside)
    form, draft = found
    return _as_chosen(form, draft), draft, form.numbers


def _fits(form: _Form, budget: int, workers: int, smallest: bool) -> tuple[_Form, Draft] | None:
    if form.least > budget:
        return None
    draft = form.draft(workers, smallest, budget)
    return (form, draft) if _need(form.sketch, draft) <= budget else None


def _need(sketch: Sketch, draft: Draft) -> int:
    return align(draft.arena.total) + align(sketch.given.target.workspace(draft))


def _as_chosen(form: _Form, draft: Draft) -> Sketch:
    """The sketch, its steps with the kernels of the draft's."""
    steps = form.sketch.work.steps
    for number, step in zip(form.numbers, draft.steps, strict=True):
        if number >= 0:
            steps[number] = replace(steps[number], kernel=step.kernel)
    return form.sketch


def _forms(given: Given) -> Iterator[_Form]:
    """Ways to run the segment, with the same kernels."""
    first = usual(given)
    paired = in_pairs(first)
    yield _form(first) if paired is None else _form(first, paired.steps, paired.spans)
    pins = {
        (s.node.outputs[0], "conv2d" if s.op == "conv2d_means" else s.op): s.kernel
        for s in first.work.steps
    }
    pinned = replace(given, pins=pins, means=False)  # what writes them has no parts
    ordered = replace(pinned, segment=by_liveness(given.segment, given.shapes))
    if ordered.segment.nodes != given.segment.nodes:
        yield _form(sketched(ordered))
    by_layer = [sketched(pinned, by_image=False, late=late) for late in (False, True)]
    if by_layer[0].work.homes.of == by_layer[1].work.homes.of:
        by_layer.pop()
    for sketch in by_layer:
        yield _form(sketch)
    images = images_of(first)
    for turns in sorted({-(-images // k) for k in range(1, images)}):
        for sketch in by_layer:
            turned = by_turns(sketch, turns)
            if turned is not None:
                yield _form(sketch, turned.steps)
    if any(step.params.get("x_nchw") for step in first.work.steps):
        lates = [sketch.work.homes.late for sketch in by_layer]
        by_layer += [sketched(pinned, by_image=False, late=late, copies=True) for late in lates]
    for sketch in by_layer:
        for steps in by_bands(sketch):
            yield _form(sketch, steps)


def _form(sketch: Sketch, parts: list[Numbered] | None = None, spans: Sequence[Span] = ()) -> _Form:
    spans = sketch.spans if parts is None else spans
    numbered = list(enumerate(sketch.work.steps)) if parts is None else parts
    steps, numbers = [step for _, step in numbered], [number for number, _ in numbered]
    least = 0
    if not spans and parts is not None:
        homes, lives = sketch.work.homes, uses_of(steps)
        sizes = {key: align(homes.buffers[key] * homes.itemsize) for key in lives}
        over = written_over(steps, sizes) if homes.in_place else {}
        least = max(alive(len(steps), lives, sizes, over))
    return _Form(sketch, steps, numbers, spans, least)


def _thrifty(form: _Form, draft: Draft, budget: int) -> list[Step]:
    """The steps with other kernels where those need more workspace than `budget` bytes: the first that does not, else
    the one that needs least. All parts of a step have one kernel."""
    target, workers = form.sketch.given.target, draft.workers
    parts: dict[int, list[int]] = {}
    for i, number in enumerate(form.numbers):
        parts.setdefault(number, []).append(i)
    steps = list(draft.steps)
    for of in parts.values():
        op, kernel = steps[of[0]].op, steps[of[0]].kernel
        problems = [*{tuple(sorted(steps[i].params.items())): steps[i].params for i in of}.values()]
        need = max(target.workspace_of(op, kernel, p, workers) for p in problems)
        if need <= budget:
            continue
        able = [target.alternatives(op, p) for p in problems]
        names = [kernel, *(n for n in able[0] if all(n in others for others in able))]
        needs = {n: max(target.workspace_of(op, n, p, workers) for p in problems) for n in names}
        chosen = next((n for n in names if needs[n] <= budget), min(names, key=needs.__getitem__))
        for i in of:
            steps[i] = replace(steps[i], kernel=chosen)
    return steps
