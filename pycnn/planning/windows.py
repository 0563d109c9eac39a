"""Where bands of rows save most: stretches of a plan's steps, found from its peak downwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pycnn.planning.cuts import Cut, Range
from pycnn.planning.in_place import Over, written_over
from pycnn.planning.memory import align
from pycnn.planning.parts import Buffers, Numbered, in_parts
from pycnn.planning.step import uses_of

_LENGTHS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
_STARTS = 8  # of windows of one length
_SEARCHED, _BANDS = 8, (4, 16, 32)
_STATES = 24  # that are tried, so that plans of hundreds of steps are made within seconds
# Peaks so close are told apart by the number of parts: first coarsely, at last finely.
_NEAR = (1.3, 1.03)


@dataclass(frozen=True)
class Window:
    """Steps `begin` up to `end` in so many bands of rows; `peak`: bytes alive at once, `parts`: steps they become."""

    begin: int
    end: int
    bands: int
    peak: int
    parts: int


@dataclass
class Windows:
    """`steps` of one image, with the cuts of those that have one; `first`, `last`: where each buffer is used in them,
    -1 and len(steps) where it is before and behind; `sizes`: bytes of each buffer; `in_place`: as `Homes` says."""

    steps: Sequence[Numbered]
    cuts: Sequence[Cut | None]
    uses: Mapping[int, tuple[int, int]]
    sizes: Mapping[int, int]
    itemsize: int
    in_place: bool
    tried: dict[tuple[int, int, int], Window] = field(default_factory=dict)

    def found(self) -> Iterator[list[Window]]:
        """Windows that lower the peak, step by step, until none does."""
        uses = self.uses
        sums = alive(len(self.steps), uses, self.sizes, self._over(self.steps, uses, self.sizes))
        chosen: list[Window] = []
        tried = 0
        for near in _NEAR:
            while tried < _STATES:
                tried += 1
                peaks = {at: size for at, size in enumerate(sums) if not _within(at, chosen)}
                peaks.update({window.begin: window.peak for window in chosen})
                at = max(peaks, key=lambda i: (peaks[i], -i), default=-1)
                best = self._best(at, chosen, near) if peaks else None
                if best is None or best.peak >= peaks[at]:
                    break
                chosen = [w for w in chosen if w.end <= best.begin or best.end <= w.begin]
                chosen = sorted([*chosen, best], key=lambda w: w.begin)
                yield chosen

    def _best(self, at: int, chosen: Sequence[Window], near: float) -> Window | None:
        """The window around the step with the lowest peak; it has whole windows of those chosen, or none of them."""
        if self.cuts[at] is None:
            return None
        low, high = at, at
        while low > 0 and self.cuts[low - 1] is not None:
            low -= 1
        while high < len(self.cuts) and self.cuts[high] is not None:
            high += 1
        ends = {
            (begin, begin + length)
            for length in _LENGTHS
            for begin in range(at - length + 1, at + 1, max(1, length // _STARTS))
        }
        ends = {(max(begin, low), min(end, high)) for begin, end in ends}
        ends = {_joined(begin, end, chosen) for begin, end in ends if end - begin > 1}
        tried = [self._window(b, e, _SEARCHED) for b, e in ends]
        best = _lowest(tried, near)
        if best is None:
            return None
        others = (self._window(best.begin, best.end, bands) for bands in _BANDS)
        return _lowest([best, *others], near)

    def _window(self, begin: int, end: int, bands: int) -> Window:
        known = self.tried.get((begin, end, bands))
        if known is None:
            known = self._measured(begin, end, bands)
            self.tried[begin, end, bands] = known
        return known

    def _measured(self, begin: int, end: int, bands: int) -> Window:
        inside = {key for key, (a, b) in self.uses.items() if begin <= a and b < end}
        made: dict[int, int] = {}

        def fresh(count: int) -> int:
            made[-(1 << 50) - len(made)] = align(count * self.itemsize)
            return -(1 << 50) - len(made) + 1

        cuts = [cut for cut in self.cuts[begin:end] if cut is not None]
        buffers = Buffers(fresh, lambda op, params, offset: "")
        parts = in_parts(self.steps[begin:end], cuts, bands, inside, buffers)
        sizes, lives = {**self.sizes, **made}, uses_of([step for _, step in parts])
        across = 0
        for key, (a, b) in self.uses.items():
            if key in lives:
                first, last = lives[key]
                lives[key] = -1 if a < begin else first, len(parts) if b >= end else last
            elif a < begin and b >= end:
                across += sizes[key]
        most = max(alive(len(parts), lives, sizes, self._over(parts, lives, sizes)))
        return Window(begin, end, bands, across + most, len(parts))

    def _over(
        self, steps: Sequence[Numbered], lives: Mapping[int, Range], sizes: Mapping[int, int]
    ) -> Over:
        """Of buffers that live within the steps."""
        over = written_over([step for _, step in steps], sizes) if self.in_place else {}
        return {y: x for y, x in over.items() if lives[y][0] >= 0 and lives[x][1] < len(steps)}


def alive(
    steps: int, lives: Mapping[int, tuple[int, int]], sizes: Mapping[int, int], over: Over
) -> list[int]:
    """Bytes of the buffers that are alive at each of so many steps; a result counts when what it is written over does
    no more."""
    change = [0] * (steps + 1)
    for key, (first, last) in lives.items():
        change[max(first, 0) + (key in over)] += sizes[key]
        change[min(last, steps - 1) + 1] -= sizes[key]
    return list(accumulate(change[:-1]))


def _within(at: int, windows: Sequence[Window]) -> bool:
    return any(w.begin <= at < w.end for w in windows)


def _joined(begin: int, end: int, windows: Sequence[Window]) -> tuple[int, int]:
    """With the whole of each window that the stretch has a part of; windows do not overlap."""
    parts = [w for w in windows if w.begin < end and begin < w.end]
    return min([begin, *(w.begin for w in parts)]), max([end, *(w.end for w in parts)])


def _lowest(windows: Sequence[Window], near: float) -> Window | None:
    """The one of fewest parts among those with a peak `near` the lowest."""
    least = min((w.peak for w in windows), default=0)
    able = [w for w in windows if w.peak <= least * near]
    return min(able, key=lambda w: (w.parts, w.peak, w.begin), default=None)
