"""Proves a memory placement right; shares no code with the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pycnn.planning.memory import ALIGN, Block, Placement


class PlacementError(AssertionError):
    """Two live blocks share bytes, or a block is misplaced."""


def check(
    blocks: Sequence[Block], placement: Placement, over: Mapping[int, int] | None = None
) -> None:
    """Raise PlacementError naming the blocks unless no two blocks alive at one step share a byte.

    `over`: key of a block -> that of the one whose very bytes it takes; both are alive at one step, and only there.
    """
    over, of = over or {}, {b.key: b for b in blocks}
    for b in blocks:
        offset = placement.offsets[b.key]
        if offset < 0 or offset % ALIGN or offset + b.size > placement.total:
            raise PlacementError(
                f"block {b.key}: offset {offset}, size {b.size}, arena {placement.total}"
            )
    for key, under in over.items():
        low, high = of[under], of[key]
        same = low.size == high.size and placement.offsets[under] == placement.offsets[key]
        if not same or low.last != high.first:
            raise PlacementError(f"block {key} is not where block {under} ends")
    alive: dict[int, list[Block]] = {}
    for b in blocks:
        for step in range(b.first, b.last + 1):
            alive.setdefault(step, []).append(b)
    for step, group in alive.items():
        gone = {over[b.key] for b in group if b.key in over and b.first == step}
        left = [b for b in group if b.size and b.key not in gone]
        ordered = sorted(left, key=lambda b: placement.offsets[b.key])
        for low, high in zip(ordered, ordered[1:], strict=False):
            if placement.offsets[low.key] + low.size > placement.offsets[high.key]:
                raise PlacementError(f"blocks {low.key} and {high.key} share bytes at step {step}")
