"""Where the buffers of a plan's steps lie: one arena, in which each section has a piece of memory for each worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pycnn.planning.check import check
from pycnn.planning.homes import Home, Homes
from pycnn.planning.in_place import Over, owner, written_over
from pycnn.planning.memory import Block, Placement, align, place
from pycnn.planning.step import Step, uses_of

Slot = tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Span:
    """Steps `begin` up to `end`, run for each of `images`."""

    begin: int
    end: int
    images: int


@dataclass(frozen=True)
class Scratch:
    """A section's own buffers: byte offsets in each worker's piece, the first piece, bytes between pieces."""

    offsets: Mapping[int, int]
    at: int
    piece: int


@dataclass(frozen=True)
class Arena:
    """`offsets`: bytes, of the buffers that all workers see; `scratch`: by buffer, the section's whose own it is.
    `itemsize`: bytes of an element."""

    itemsize: int
    total: int
    offsets: Mapping[int, int]
    scratch: Mapping[int, Scratch]

    def slot(self, home: Home | None) -> Slot:
        """The operand at `home` as the plan names it."""
        if home is None:
            return ("none", 0)
        offset, image = home.offset * self.itemsize, home.image * self.itemsize
        if home.kind == "const":
            return ("const", home.index)
        if home.kind != "arena":
            return (home.kind, home.index, offset, image, 0)
        own = self.scratch.get(home.index)
        if own is not None:
            return ("arena", own.at + own.offsets[home.index] + offset, 0, 0, own.piece)
        return ("arena", self.offsets[home.index] + offset, 0, image, 0)


def arrange(
    steps: Sequence[Step], spans: Sequence[Span], homes: Homes, workers: int, keep: bool
) -> Arena:
    """Place every buffer, and prove it; with `keep` each value has bytes of its own, those of a section too."""
    uses, last = uses_of(steps), len(steps) - 1
    blocks, inner = [], {}
    over = written_over(steps, homes.buffers) if homes.in_place and not keep else {}
    for n, span in enumerate(spans):
        own = [
            Block(key, _image_bytes(key, homes, span.images), *at)
            for key, at in uses.items()
            if span.begin <= at[0] and at[1] < span.end and (key < 0 or not keep)
        ]
        inner[n] = own, _placed(own, over)
        for block in own:
            del uses[block.key]
        # Keys of values are not negative and those of other buffers count down from -1.
        blocks.append(Block(_key(n), inner[n][1].total * workers, span.begin, span.end - 1))
    # What a section shares with steps outside it is alive in all of it.
    inside = {i for span in spans for i in range(span.begin, span.end)}
    over = {y: x for y, x in over.items() if y in uses and uses[y][0] not in inside}
    for key, at in uses.items():
        first, end = (0, last) if keep else at
        blocks.append(Block(key, homes.buffers[key] * homes.itemsize, *_whole(first, end, spans)))
    outer = _placed(blocks, over)
    scratch = {
        block.key: Scratch(placement.offsets, outer.offsets[_key(n)], placement.total)
        for n, (own, placement) in inner.items()
        for block in own
    }
    offsets = {key: at for key, at in outer.offsets.items() if key in uses}
    return Arena(homes.itemsize, outer.total, offsets, scratch)


def _placed(blocks: Sequence[Block], over: Over) -> Placement:
    """`over`: what lies where another block did, whose last step is its first."""
    alone = {block.key: block for block in blocks}
    over = {
        y: x
        for y, x in over.items()
        if y in alone and x in alone and alone[y].size == alone[x].size
    }
    joined: dict[int, Block] = {}
    for block in sorted(blocks, key=lambda b: (b.first, b.last)):
        key = owner(block.key, over)
        joined[key] = replace(joined.get(key, block), last=block.last)
    found = place([*joined.values()])
    offsets = {key: found.offsets[owner(key, over)] for key in alone}
    placement = Placement(offsets, align(found.total))
    check(blocks, placement, over)
    return placement


def _whole(first: int, last: int, spans: Sequence[Span]) -> tuple[int, int]:
    """A lifetime that touches a section, with all of it: its first image is done before the last one begins."""
    for span in spans:
        if span.begin <= first < span.end:
            first = span.begin
        if span.begin <= last < span.end:
            last = span.end - 1
    return first, last


def _image_bytes(key: int, homes: Homes, images: int) -> int:
    """Of one image's part of a buffer; one that belongs to no value was made for one image."""
    floats = homes.buffers[key]
    return (floats if key < 0 else floats // images) * homes.itemsize


def _key(section: int) -> int:
    return -(1 << 40) - section
