"""What a model makes of its own tensors alone: standardised weights, views of scales. It becomes one of them, computed
when weights are packed and not at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..ir import Dim, Node, Torch, derive
from .calls import Call, call_sources, is_random, map_leaves

if TYPE_CHECKING:
    from .trace import Trace


class Derived:
    """The twins of a trace that stand for derived Sources, with the calls that make them."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Torch]] = {}

    def __contains__(self, twin: Tensor) -> bool:
        return id(twin) in self._made

    def take(self, trace: Trace, call: Call, op: Torch, new: Sequence[Tensor]) -> bool:
        """Make a derived Source of a call that reads no value of the graph and writes nothing; False: it is none."""
        if len(new) != 1 or not call_sources(call) or is_random(call) or _reads_sizes(call):
            return False
        (twin,) = new
        trace.twins.name(twin, derive(trace.tensors, op, twin))
        self._made[id(twin)] = (twin, op)
        return True

    def settle(self, trace: Trace, twin: Any) -> None:
        """A derived one that is about to be written becomes a value of the graph."""
        found = self._made.pop(id(twin), None)
        if found is None:
            return
        trace.twins.unname(twin)
        value = trace.new_id()
        trace.bind(twin, value)
        trace.nodes.append(Node(found[1], (), (value,), trace.path))


def _reads_sizes(call: Call) -> bool:
    found: list[Any] = []
    map_leaves((call.args, call.kwargs), lambda x: found.append(x) if isinstance(x, Dim) else None)
    return bool(found)
