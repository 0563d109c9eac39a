"""Outputs that share memory with something the caller can see keep doing so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..ir import Node
from .builder import Value
from .calls import Call, map_leaves, storage, torch_op
from .trace import Trace


def expose_aliases(trace: Trace, outputs: Sequence[Tensor]) -> tuple[list[Node], frozenset[int]]:
    """(nodes, aliased outputs): before => after

        %1 = flatten(%0); return %0, %1   =>   %1 = torch.flatten(%0) with view set; aliased = {1}

    An output is aliased if its memory is that of an input, of a tensor of the model, or of another output.  All calls
    on the way from that memory are then run by torch, on the real tensors.
    """
    known = trace.twins
    twins = list({id(t): t for t in outputs if known.value_of(t) is not None}.values())
    shared = Counter(storage(t) for t in twins)
    aliased: set[int] = set()
    views: set[int] = set()
    for twin in twins:
        value = known.value_of(twin)
        if value is None or value < len(trace.inputs):
            continue
        if shared[storage(twin)] > 1 or known.is_view_of_fixed(value):
            aliased.add(value)
            _collect(trace, value, views)
    nodes = [
        _as_view(node, trace.calls) if views & set(node.outputs) else node for node in trace.nodes
    ]
    return nodes, frozenset(aliased & views)


def _collect(trace: Trace, value: int, views: set[int]) -> None:
    """Add to `views` the value and those it is a view of, up to the one that owns the memory."""
    known, operands = trace.twins, _operands(trace.calls.get(value))
    memory = storage(known.twin_of(value))
    bases = [v for v in operands if storage(known.twin_of(v)) == memory]
    if value in views or value in trace.written or not (bases or known.is_view_of_fixed(value)):
        return
    views.add(value)
    for base in bases:
        if base >= len(trace.inputs):
            _collect(trace, base, views)


def _operands(call: Call | None) -> list[int]:
    found: list[int] = []

    def leaf(x: Any) -> Any:
        if isinstance(x, Value):
            found.append(x.id)
        return x

    if call is not None:
        map_leaves((call.args, call.kwargs), leaf)
    return found


def _as_view(node: Node, calls: dict[int, Call]) -> Node:
    op, inputs = torch_op(
        calls[node.outputs[0]], "its output shares memory with another", view=True
    )
    return Node(op, inputs, node.outputs, node.path)
