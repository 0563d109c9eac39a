"""Static memory planning: blocks with lifetimes get offsets in one arena. Pure functions on intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ALIGN = 64


@dataclass(frozen=True)
class Block:
    """``size`` bytes, alive from step ``first`` to step ``last``, both included."""

    key: int
    size: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        return self.first <= other.last and other.first <= self.last


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
    """Greedy by size: the largest block first, each into the tightest gap left by those alive with it."""
    placed: list[tuple[Block, int]] = []
    offsets: dict[int, int] = {}
    for block in sorted(blocks, key=lambda b: (-b.size, b.first, b.key)):
        taken = sorted((at, at + align(b.size)) for b, at in placed if b.overlaps(block))
        offset = _best_gap(align(block.size), taken)
        placed.append((block, offset))
        offsets[block.key] = offset
    return Placement(offsets, max((at + align(b.size) for b, at in placed), default=0))
