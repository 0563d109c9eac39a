"""Static memory planning: blocks with lifetimes get offsets in one arena. Pure functions on intervals."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

ALIGN = 64


@dataclass(frozen=True)
class Block:
    """``size`` bytes, alive from step ``first`` to step ``last``, both included."""

    key: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Placement:
    """Byte offset of each block's key, and the arena's size."""

    offsets: dict[int, int]
    total: int


def align(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _best_gap(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """Start of the smallest gap of ``size`` bytes between sorted (start, end) ranges, else their end."""
    best, best_waste, cursor = None, 0, 0
    for start, end in taken:
        waste = start - cursor - size
        if waste >= 0 and (best is None or waste < best_waste):
            best, best_waste = cursor, waste
        cursor = max(cursor, end)
    return cursor if best is None else best


def place(blocks: Sequence[Block]) -> Placement:
    """Greedy: one block after the other, each into the tightest gap left by those alive with it.

    The largest first; where that leaves gaps, those that live longest or that fill most of the arena's time too.
    """
    least = _most_alive(blocks)
    best: Placement | None = None
    for order in _ORDERS:
        found = _placed(sorted(blocks, key=lambda b: (*order(b), b.first, b.key)))
        if best is None or found.total < best.total:
            best = found
        if best.total <= least:
            break
    assert best is not None
    return best


_ORDERS: tuple[Callable[[Block], tuple[int, ...]], ...] = (
    lambda b: (-b.size,),
    lambda b: (b.first - b.last, -b.size),
    lambda b: (-b.size * (b.last - b.first + 1),),
)


def _placed(blocks: Sequence[Block]) -> Placement:
    placed: list[tuple[int, int, int, int]] = []  # first byte, end, first and last step; sorted
    offsets: dict[int, int] = {}
    for block in blocks:
        first, last, size = block.first, block.last, align(block.size)
        taken = [(at, end) for at, end, a, b in placed if a <= last and first <= b]
        offset = _best_gap(size, taken)
        insort(placed, (offset, offset + size, first, last))
        offsets[block.key] = offset
    return Placement(offsets, max((end for _, end, _, _ in placed), default=0))


def _most_alive(blocks: Sequence[Block]) -> int:
    """The most bytes alive at a step, which no placement is below."""
    changes = [(b.first, align(b.size)) for b in blocks]
    changes += [(b.last + 1, -align(b.size)) for b in blocks]
    alive = most = 0
    for _, change in sorted(changes):  # what ends at a step goes before what begins there
        alive += change
        most = max(most, alive)
    return most
