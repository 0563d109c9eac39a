"""Packed weights that lie in a file beside the weights they were made of, and when they may stand for them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pycnn import _C
from pycnn._version import __version__

from .codec import encode
from .graph import sources
from .op import Op
from .source import Source, TensorTable

_INPUT = 1  # raise it where what is handed to a kernel's pack() changes: the order of its parts, how norms are folded


def packing(
    op: Op, how: tuple[Any, ...], tensors: TensorTable, name: Callable[[Source], str]
) -> str:
    """A digest of all that a packed weight of `op` depends on but the numbers of its tensors.

    It tells apart builds of the kernels and versions, ops with all their fields, tensors by the `name` of each, and
    `how`: the kernel, which names its elements and instruction set, and what it was told of the problem.
    """
    told = [_INPUT, __version__, _build(), list(how), _spelled(op, tensors, name)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@functools.cache
def _build() -> str:
    """Of the library whose kernels pack: how they do it may change with every build."""
    return hashlib.sha256(Path(_C.__file__).read_bytes()).hexdigest()


def _spelled(op: Op, tensors: TensorTable, name: Callable[[Source], str]) -> Any:
    """The op as JSON's types; a derived tensor is spelled as the op that makes it."""
    found = {source.index: source for source in sources(op)}

    def visit(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: visit(value) for key, value in part.items()}
        if not isinstance(part, list):
            return part
        if part[:1] != ["source"] or part[1] not in found:
            return [visit(each) for each in part]
        recipe = tensors.recipe(found[part[1]])
        spelled = name(found[part[1]]) if recipe is None else _spelled(recipe, tensors, name)
        return ["tensor", spelled]

    return visit(encode(op))


class StoredWeights:
    """`packed`: memory by digest (`packing`), read in place; of `network`'s tensors as they are now. A tensor edited or
    replaced since makes what was packed of it count no more, nothing else."""

    def __init__(self, packed: Mapping[str, Tensor], network: nn.Module) -> None:
        self._packed = packed
        # Aliases keep the memory, so that its address cannot become another tensor's.
        self._made_of = {id(t): (t.detach(), _version(t)) for t in _held(network)}

    def find(self, digest: str, op: Op, tensors: TensorTable, size: int) -> Tensor | None:
        """The `size` bytes that `op`'s kernel reads, or None: there are none, or other ones."""
        packed = self._packed.get(digest)
        if packed is None or packed.nbytes != size:
            return None
        return packed if all(self._holds(source, tensors) for source in sources(op)) else None

    def _holds(self, source: Source, tensors: TensorTable) -> bool:
        for holder, key in tensors.slots(source):
            now = holder.get(key)
            if not isinstance(now, Tensor) or id(now) not in self._made_of:
                return False
            alias, version = self._made_of[id(now)]
            if now.data_ptr() != alias.data_ptr() or _version(now) != version:
                return False
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the network has tensors of its own: it has no stored weights."""
        return type(None), ()


def _held(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        for holder in (module._parameters, module._buffers, vars(module)):
            yield from (t for t in holder.values() if isinstance(t, Tensor))


def _version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version
