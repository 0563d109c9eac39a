"""What the nodes of an optimised graph are in the caller's model: module paths and the parts fused into each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pycnn.ir import Flatten, Graph, Identity, Node, Origin, Permute, Reshape, Torch, producers

_KEEPS = (Flatten, Identity, Permute)  # what names no layer beside others


class Layers:
    """Names of the nodes of `graph`, which passes made from `raw`, the capture of `model`.

    raw: %1 = conv2d(%0)  # layer1.0.conv1      graph: %4 = conv2d(%0, norms, residual, act)
         %2 = batch_norm(%1)  # layer1.0.bn1
         %3 = add(%2, %0)  # layer1.0           name:  layer1.0.conv1 + bn1 + add + relu
         %4 = elementwise(%3; relu)  # layer1.0.relu
    """

    def __init__(self, model: nn.Module, raw: Graph, graph: Graph) -> None:
        self._leaves = {path for path, m in model.named_modules() if path and not any(m.children())}
        self._raw, self._origins = producers(raw), raw.origins
        self._same = {**_same_values(raw), **_same_values(graph), **graph.maps}
        self._maps = graph.maps
        self._made = {self.raw_value(v) for node in graph.nodes for v in node.outputs}
        self._ops = {node.outputs[0]: node.op for node in graph.nodes if node.outputs}

    def raw_value(self, value: int) -> int:
        """The value of the capture that `value` is, up to its shape or a permute; itself where there is none."""
        return self._same.get(value, value)

    def as_captured(self, value: int, tensor: Tensor) -> Tensor:
        """The tensor of `value` with the axes, or at least the order of elements, that `raw_value(value)` has."""
        return tensor.permute(0, 2, 3, 1) if value in self._maps else tensor

    def origins(self) -> dict[int, Origin]:
        """By value of the capture: the torch call that makes it, for the values that `graph` makes too."""
        return {v: origin for v, origin in self._origins.items() if v in self._made}

    def parts(self, node: Node) -> list[Node]:
        """The nodes of the capture whose work `node` does, in order."""
        found: dict[int, Node] = {}
        todo = [self.raw_value(v) for v in node.outputs]
        joined = self._ops.get(node.outputs[0]) is not node.op  # of several nodes, by planning
        stop = {self.raw_value(v) for v in node.inputs} if joined else self._made.difference(todo)
        while todo:
            value = todo.pop()
            part = self._raw.get(value)
            if part is not None and value not in stop and id(part) not in found:
                found[id(part)] = part
                todo += part.inputs
        order = {id(part): i for i, part in enumerate(self._raw.values())}
        return sorted(found.values(), key=lambda part: order[id(part)])

    def name(self, node: Node) -> str:
        """Paths of the parts, the first in full: "layer1.0.conv1 + bn1 + relu"; an op where no module is its own."""
        parts = [part for part in self.parts(node) if not isinstance(part.op, _KEEPS)]
        if not parts:
            return self._full(node)
        first, *others = parts
        return " + ".join([self._full(first), *(self._short(part) for part in others)])

    def _full(self, node: Node) -> str:
        if node.path in self._leaves:
            return node.path
        return f"{node.path}: {kind(node)}" if node.path else kind(node)

    def _short(self, node: Node) -> str:
        """The last step of the path, unless that is a mere number."""
        last = node.path.rpartition(".")[2]
        return last if node.path in self._leaves and not last.isdigit() else kind(node)


def kind(node: Node) -> str:
    """The op in a word: its activation's for an elementwise op, torch's function for a torch op."""
    op = node.op
    if isinstance(op, Torch):
        return str(getattr(op.func, "__name__", "torch"))
    act = getattr(op, "act", None)
    return act.kind if op.name == "elementwise" and act is not None else op.name


def _same_values(graph: Graph) -> dict[int, int]:
    """Values that no call of the model makes -> the one a call makes of them by changing the shape alone."""
    made = graph.origins
    return {
        node.inputs[0]: node.outputs[0]
        for node in graph.nodes
        if isinstance(node.op, (Flatten, Reshape))
        and node.inputs[0] not in (*made, *graph.inputs)
        and node.outputs[0] in made
    }


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that occur again with their count: "conv", "conv (2)"."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result
