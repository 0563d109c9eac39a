"""Blocks gathered into groups (modules with branches), repeats told as one, groups into columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pycnn.picture.unit import Block

_LARGEST = 32  # blocks; a module with more is drawn open


@dataclass
class Item:
    """A lone block, or a group of blocks drawn in a frame; `paths` are the modules it stands for."""

    blocks: list[int]
    paths: list[str] = field(default_factory=list)
    stands_for: list[int] = field(default_factory=list)  # all blocks, of repeats too

    @property
    def is_group(self) -> bool:
        return bool(self.paths)


def items(blocks: Sequence[Block]) -> list[Item]:
    """Items in order; a group repeated without change stands once."""
    groups = _groups(blocks)
    made: list[Item] = []
    for number in range(len(blocks)):
        path = groups.get(number)
        last = made[-1] if made else None
        if path is None:
            made.append(Item([number], [], [number]))
        elif last is not None and last.paths == [path]:
            last.blocks.append(number)
            last.stands_for.append(number)
        else:
            made.append(Item([number], [path], [number]))
    return _repeats(made, blocks)


def _groups(blocks: Sequence[Block]) -> dict[int, str]:
    """Block -> the outermost module with branches that it belongs to, small enough and within one stage."""
    members: dict[str, list[int]] = {}
    for number, block in enumerate(blocks):
        for path in _prefixes(block.head.path):
            members.setdefault(path, []).append(number)
    joins = {_module(b.head.path, members) for b in blocks if len(b.inputs) > 1} - {""}
    chosen: dict[int, str] = {}
    for path in sorted(joins, key=lambda p: p.count(".")):
        mine = members[path]
        whole = mine == list(range(mine[0], mine[-1] + 1))
        stages = {blocks[i].head.stage for i in mine}
        free = not any(i in chosen for i in mine)
        if whole and free and 1 < len(mine) <= _LARGEST and len(stages) == 1:
            chosen.update(dict.fromkeys(mine, path))
    return chosen


def _module(path: str, members: dict[str, list[int]]) -> str:
    """The module that joins: the innermost one around `path` with more blocks than this (a sum may be fused)."""
    found = [prefix for prefix in _prefixes(path) if len(members.get(prefix, [])) > 1]
    return found[-1] if found else ""


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _repeats(made: Sequence[Item], blocks: Sequence[Block]) -> list[Item]:
    found: list[Item] = []
    for item in made:
        last = found[-1] if found else None
        if (
            last is not None
            and item.is_group
            and last.is_group
            and blocks[last.blocks[0]].head.stage == blocks[item.blocks[0]].head.stage
            and _signature(last, blocks) == _signature(item, blocks)
        ):
            last.paths.append(item.paths[0])
            last.stands_for += item.blocks
        else:
            found.append(item)
    return found


def _signature(item: Item, blocks: Sequence[Block]) -> list[object]:
    """Equal for groups that differ in nothing that is drawn, but for the widths of joined maps."""
    first = item.blocks[0]
    prefix = len(item.paths[0])
    signature: list[object] = []
    for number in item.blocks:
        block = blocks[number]
        inner = tuple(at - first if at >= first else -1 for at in block.inputs)
        dense = len(block.inputs) > 2  # DenseNet: each layer joins one map more
        signature.append(
            (
                block.head.title,
                (*block.followers, *block.head.lines),
                block.head.path[prefix:],
                block.shape[2:] if dense or not block.head.weighted else block.shape,
                "joined" if dense else inner,
            )
        )
    return signature
