"""Boxes with edges placed on a grid: a rank a row (longest way from the start), a lane a column, skips at the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GAP_X, GAP_Y = 18, 26
TRACK = 13  # between two skips that run side by side

Point = tuple[float, float]


@dataclass
class Box:
    """A rectangle to place; the layout sets x and y."""

    width: float
    height: float
    x: float = 0
    y: float = 0

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass
class Edge:
    """A line through `points`; `skip` runs past other boxes."""

    points: list[Point]
    skip: bool


@dataclass
class Placed:
    """The size of a finished layout and its lines."""

    width: float
    height: float
    edges: list[Edge] = field(default_factory=list)


def place(boxes: Sequence[Box], links: Sequence[tuple[int, int]]) -> Placed:
    """Give each box its place, relative to (0, 0); `links` go from an earlier box to a later one."""
    before: list[list[int]] = [[] for _ in boxes]
    for a, b in links:
        before[b].append(a)
    rank, lane, taken = _grid(before)
    ranks, lanes = max(rank) + 1, max(lane) + 1
    widths = [
        max((b.width for b, at in zip(boxes, lane, strict=True) if at == i), default=0)
        for i in range(lanes)
    ]
    heights = [
        max(b.height for b, at in zip(boxes, rank, strict=True) if at == i) for i in range(ranks)
    ]
    tops = [sum(heights[:i]) + GAP_Y * i for i in range(ranks)]
    lefts = [sum(widths[:i]) + GAP_X * i for i in range(lanes)]
    for i, box in enumerate(boxes):
        box.x = lefts[lane[i]] + (widths[lane[i]] - box.width) / 2
        box.y = tops[rank[i]]
    right = lefts[-1] + widths[-1]
    placed = Placed(right, tops[-1] + heights[-1])
    tracks: list[list[tuple[int, int]]] = []
    for a, b in links:
        a_box, b_box = boxes[a], boxes[b]
        between = range(rank[a] + 1, rank[b])
        if all((r, lane[a]) not in taken or taken[r, lane[a]] == a for r in between):
            turn = b_box.y - GAP_Y / 2
            points = [(a_box.middle, a_box.y + a_box.height)]
            if a_box.middle != b_box.middle:
                points += [(a_box.middle, turn), (b_box.middle, turn)]
            placed.edges.append(Edge([*points, (b_box.middle, b_box.y)], False))
            continue
        track = _track(tracks, (rank[a], rank[b]))
        x = right + TRACK * (track + 1)
        start = (a_box.x + a_box.width, a_box.y + a_box.height * 0.5)
        end = (b_box.x + b_box.width, b_box.y + b_box.height * 0.5)
        placed.edges.append(Edge([start, (x, start[1]), (x, end[1]), end], True))
        placed.width = max(placed.width, x + TRACK / 2)
    return placed


def _grid(
    before: Sequence[Sequence[int]],
) -> tuple[list[int], list[int], dict[tuple[int, int], int]]:
    """Rank and lane of each box, and which box a cell belongs to (its line's cells included)."""
    rank: list[int] = []
    lane: list[int] = []
    taken: dict[tuple[int, int], int] = {}
    continued: set[int] = set()  # boxes whose lane a later box has taken over
    for i, sources in enumerate(before):
        row = 1 + max((rank[a] for a in sources), default=-1)
        open_lanes = sorted((lane[a], a) for a in sources if a not in continued)
        column = next(
            (
                at
                for at, a in open_lanes
                if all((r, at) not in taken for r in range(rank[a] + 1, row + 1))
            ),
            None,
        )
        if column is None:
            first = min((rank[a] + 1 for a in sources), default=row)
            column = 0
            while any((r, column) in taken for r in range(first, row + 1)):
                column += 1
        rank.append(row)
        lane.append(column)
        taken[row, column] = i
        continued.update(a for at, a in open_lanes if at == column)
        for a in sources:  # the cells that its line runs through
            for r in range(rank[a] + 1, row):
                if lane[a] != column:
                    taken.setdefault((r, lane[a]), a)
    return rank, lane, taken


def _track(tracks: list[list[tuple[int, int]]], span: tuple[int, int]) -> int:
    """The innermost track at the side that is free from one rank to the other."""
    for number, spans in enumerate(tracks):
        if all(span[1] <= a or b <= span[0] for a, b in spans):
            spans.append(span)
            return number
    tracks.append([span])
    return len(tracks) - 1
