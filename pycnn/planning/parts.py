"""Steps of a plan run in parts, so that what passes between them is never whole: images, or bands of rows, by turns.

The last steps of a stretch are made part by part, and before each part the steps before them make what it needs and has
not been made yet: each row is computed once. Of a value that passes within the stretch each part has a buffer of its
own; the rows that later parts still read are kept in a small one from part to part: where all of them lie is the memory
planner's.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace

from pycnn.planning.arena import Span
from pycnn.planning.cuts import Cut, Range
from pycnn.planning.homes import Home
from pycnn.planning.params import Params
from pycnn.planning.step import Step, operands

Numbered = tuple[
    int, Step
]  # a step, and which step of the undivided plan it is a part of; -1: a copy of none
_Y = 3  # the result among a step's operands


@dataclass(frozen=True)
class Parted:
    """All steps of a plan, some in parts; `spans`: where those lie that run image by image."""

    steps: list[Numbered]
    spans: Sequence[Span]


@dataclass(frozen=True)
class Buffers:
    """`made`: a fresh buffer of so many elements; its key. `choose`: the kernel of a copy. `sizes`: elements by key,
    where one buffer is to serve all parts, what is still read moving to its front; None: each part has the smallest."""

    made: Callable[[int], int]
    choose: Callable[[str, Params, int], str]
    sizes: MutableMapping[int, int] | None = None


@dataclass
class _Passing:
    """The buffer that holds units `low` to `high` of a value now; `part` in which it was made."""

    key: int
    low: int
    high: int
    part: int


def in_parts(
    steps: Sequence[Numbered], cuts: Sequence[Cut], parts: int, inside: set[int], buffers: Buffers
) -> list[Numbered]:
    """The steps in `parts` parts of their results; `inside`: keys of the buffers that nothing else reads or writes."""
    return [step for part in by_part(steps, cuts, parts, inside, buffers) for step in part]


def by_part(
    steps: Sequence[Numbered], cuts: Sequence[Cut], parts: int, inside: set[int], buffers: Buffers
) -> list[list[Numbered]]:
    """`in_parts`, the steps of each part by themselves."""
    work = _Stretch(steps, cuts, parts, buffers, _passing(steps, cuts, inside))
    return [work.run(part) for part in range(1, parts + 1)]


def _passing(steps: Sequence[Numbered], cuts: Sequence[Cut], inside: set[int]) -> dict[int, int]:
    """Key of each buffer that need not be whole -> elements of a unit, which all its users have in common."""
    units: dict[int, set[int]] = {}
    outside = set()
    for (_, step), cut in zip(steps, cuts, strict=True):
        for home, unit in zip(operands(step), cut.units, strict=True):
            if home is not None and home.kind == "arena":
                units.setdefault(home.index, set()).add(unit)
                if home.offset >= unit:
                    outside.add(home.index)
    return {
        key: min(found)
        for key, found in units.items()
        if key in inside and key not in outside and len(found) == 1
    }


@dataclass
class _Stretch:
    steps: Sequence[Numbered]
    cuts: Sequence[Cut]
    parts: int
    buffers: Buffers
    units: dict[int, int]  # of the buffers that pass

    def __post_init__(self) -> None:
        self.part, self.found = 0, list[Numbered]()
        # Units of each result before and after this part.
        self.done = self.wanted = [0] * len(self.steps)
        self.lows: dict[int, int] = {}
        self.now: dict[int, _Passing] = {}
        self.writers: dict[int, list[int]] = {}
        self.readers: dict[int, list[tuple[int, int]]] = {}  # (step, which of its operands)
        for i, (_, step) in enumerate(self.steps):
            for role, home in enumerate(operands(step)):
                if home is not None and home.kind == "arena":
                    if role == _Y:
                        self.writers.setdefault(home.index, []).append(i)
                    else:
                        self.readers.setdefault(home.index, []).append((i, role))

    def run(self, part: int) -> list[Numbered]:
        self.part, self.wanted, self.found = part, self._wanted(part), []
        self.lows = {key: self._low(key) for key in self.units}
        last = {
            home.index: i
            for i in range(len(self.steps))
            for home in operands(self.steps[i][1])
            if self.done[i] < self.wanted[i]
            if home is not None and home.kind == "arena" and home.index in self.units
        }
        for i, (origin, step) in enumerate(self.steps):
            a, b = self.done[i], self.wanted[i]
            if a < b:
                x, residual, third = (
                    None if home is None else self._home(i, role, home)
                    for role, home in enumerate(operands(step)[:_Y])
                )
                y, params = self._home(i, _Y, step.y), self.cuts[i].part(a, b)
                assert x is not None
                made = replace(step, params=params, x=x, residual=residual, third=third, y=y)
                self.found.append((origin, made))
                for key in [key for key, at in last.items() if at == i]:
                    if self.buffers.sizes is None:
                        self._shrink(key)
        self.done = self.wanted
        return self.found

    def _wanted(self, part: int) -> list[int]:
        """How far each step's result must be made after this part."""
        wanted = list(self.done)
        for i in reversed(range(len(self.steps))):
            cut, y = self.cuts[i], self.steps[i][1].y
            if y.kind != "arena" or y.index not in self.units:
                wanted[i] = max(wanted[i], -(-cut.total * part // self.parts))
            if y.kind == "arena":
                for reader, role in self.readers.get(y.index, ()):
                    if reader > i and wanted[reader] > self.done[reader]:
                        last = self._reads(reader, role, self.done[reader], wanted[reader])[1]
                        wanted[i] = max(wanted[i], last)
            wanted[i] = min(-(-wanted[i] // cut.align) * cut.align, cut.total)
        return wanted

    def _reads(self, step: int, role: int, a: int, b: int) -> Range:
        return self.cuts[step].reads(a, b) if role == 0 else (a, b)

    def _low(self, key: int) -> int:
        """The first unit that this part or a later one reads or makes."""
        lows = [self.done[i] for i in self.writers[key] if self.wanted[i] > self.done[i]]
        for i, role in self.readers.get(key, ()):
            if self.done[i] < self.cuts[i].total:
                lows.append(self._reads(i, role, self.done[i], self.done[i] + 1)[0])
        return min(lows, default=0)

    def _home(self, i: int, role: int, home: Home) -> Home:
        """Where the units of an operand lie that this part's result of step `i` is made of, or its result."""
        unit = self.cuts[i].units[role]
        first = 0 if unit == 0 else self._reads(i, role, self.done[i], self.wanted[i])[0]
        if home.kind != "arena" or home.index not in self.units:
            return replace(home, offset=home.offset + first * unit)
        now = self.now.get(home.index)
        if now is None or (role == _Y and now.part < self.part):
            now = self._renewed(home, now)
        return replace(home, index=now.key, offset=home.offset + (first - now.low) * unit)

    def _renewed(self, home: Home, before: _Passing | None) -> _Passing:
        """A buffer for this part's units, with those of the one before that are still read."""
        key, low = home.index, self.lows[home.index]
        high = max(self.wanted[i] for i in self.writers[key])
        now = self._reused(key, before, low, high) or self._made(key, low, high)
        if before is not None and low < before.high:
            self._copy(before, now, low, before.high, key)
        return now

    def _reused(self, key: int, before: _Passing | None, low: int, high: int) -> _Passing | None:
        """The buffer as it was, larger if need be; None: what is kept of it would move onto itself."""
        sizes = self.buffers.sizes
        if sizes is None or before is None or before.high - low > low - before.low:
            return None
        sizes[before.key] = max(sizes[before.key], (high - low) * self.units[key])
        self.now[key] = replace(before, low=low, high=high, part=self.part)
        return self.now[key]

    def _made(self, key: int, low: int, high: int) -> _Passing:
        made = self.buffers.made((high - low) * self.units[key])
        self.now[key] = _Passing(made, low, high, self.part)
        return self.now[key]

    def _copy(self, before: _Passing, now: _Passing, low: int, high: int, key: int) -> None:
        """Units `low` to `high` from one buffer to the other."""
        maker, unit = self.steps[self.writers[key][0]][1], self.units[key]
        node, ld = maker.node, maker.y.ld
        params: Params = {"pixels": (high - low) * unit // ld, "c": ld, "ldx": ld, "ldy": ld}
        x = Home("arena", before.key, ld, (low - before.low) * unit)
        y = Home("arena", now.key, ld, (low - now.low) * unit)
        kernel = self.buffers.choose("concat", params, x.offset)
        self.found.append((-1, Step("concat", kernel, params, node, x, y, images=maker.images)))

    def _shrink(self, key: int) -> None:
        """After its last use in this part: a buffer of just the units that later parts read."""
        now = self.now[key]
        lows = [self.wanted[i] for i in self.writers[key] if self.wanted[i] < self.cuts[i].total]
        for i, role in self.readers.get(key, ()):
            if self.wanted[i] < self.cuts[i].total:
                lows.append(self._reads(i, role, self.wanted[i], self.wanted[i] + 1)[0])
        low = min(lows, default=now.high)
        if low >= now.high:
            del self.now[key]
        elif low > now.low:
            self._copy(now, self._made(key, low, now.high), low, now.high, key)
