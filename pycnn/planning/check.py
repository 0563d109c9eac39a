"""Proves a memory placement right; shares no code with the planner."""

from __future__ import annotations

from collections.abc import Sequence

from pycnn.planning.memory import ALIGN, Block, Placement


class PlacementError(AssertionError):
    """Two live blocks share bytes, or a block is misplaced."""


def check(blocks: Sequence[Block], placement: Placement) -> None:
    """Raise PlacementError naming the blocks unless no two blocks alive at one step share a byte."""
    for b in blocks:
        offset = placement.offsets[b.key]
        if offset < 0 or offset % ALIGN or offset + b.size > placement.total:
            raise PlacementError(
                f"block {b.key}: offset {offset}, size {b.size}, arena {placement.total}"
            )
    last_step = max((b.last for b in blocks), default=-1)
    alive: dict[int, list[Block]] = {step: [] for step in range(last_step + 1)}
    for b in blocks:
        for step in range(b.first, b.last + 1):
            alive[step].append(b)
    for step, group in alive.items():
        ordered = sorted((b for b in group if b.size), key=lambda b: placement.offsets[b.key])
        for low, high in zip(ordered, ordered[1:], strict=False):
            if placement.offsets[low.key] + low.size > placement.offsets[high.key]:
                raise PlacementError(f"blocks {low.key} and {high.key} share bytes at step {step}")
