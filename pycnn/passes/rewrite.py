"""What every pass needs: edits of a graph collected, then applied at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from ..ir import Graph, Guard, Node, Note, Shape, consumers, infer_shapes, producers, sized_values


class Rewriter:
    """Reads one graph and collects replacements of nodes; `done()` is the new graph.

    A value that is removed while a Dim still names it must be handed to `same_shape` (or `rename`).
    """

    def __init__(self, graph: Graph, pass_name: str) -> None:
        self.graph = graph
        self.producers = producers(graph)
        self.consumers = consumers(graph)
        self.outputs = set(graph.output_values())
        self.position = {value: i for i, node in enumerate(graph.nodes) for value in node.outputs}
        self._pass_name = pass_name
        self._edits: dict[int, tuple[Node, ...]] = {}  # position -> what stands there instead
        self._renamed: dict[int, int] = {}
        self._same_shape = dict(graph.same_shape)
        self._dtypes = dict(graph.dtypes)
        self._maps = dict(graph.maps)
        self._notes: list[Note] = []

    @cached_property
    def sized(self) -> set[int]:
        """Values whose sizes something still names."""
        return sized_values(self.graph)

    def only_user(self, value: int) -> Node | None:
        """The node that alone reads `value`, once; None if there are more, or it is a graph output."""
        users = self.consumers.get(value, [])
        if len(users) != 1 or value in self.outputs or users[0].inputs.count(value) != 1:
            return None
        return users[0]

    def put(self, old: Node, *new: Node) -> None:
        """Let `new` (nothing removes it) stand where `old` stood."""
        self._edits[self.position[old.outputs[0]]] = new

    def new_value(self, like: int) -> int:
        """A fresh value id with the dtype of `like`."""
        value = max(self._dtypes) + 1
        self._dtypes[value] = self._dtypes[like]
        return value

    def new_map(self, value: int) -> int:
        """A fresh value id for the map that `value` [n, h, w, c] is with its channels first."""
        made = self.new_value(value)
        self._maps[made] = value
        return made

    def rename(self, removed: int, kept: int) -> None:
        """Readers of `removed` read `kept`, of the same shape, instead."""
        self._renamed[removed] = kept
        self.same_shape(removed, kept)

    def same_shape(self, removed: int, kept: int) -> None:
        """Sizes of `removed`, which is gone, are those of `kept`."""
        for other, target in self._same_shape.items():
            if target == removed:
                self._same_shape[other] = kept
        if removed in self.sized:
            self._same_shape[removed] = kept

    def note(self, node: Node, sentence: str) -> None:
        """Say why the pass left `node` alone."""
        self._notes.append(Note(self._pass_name, node.outputs[0], node.path, sentence))

    def shapes(self) -> dict[int, Shape]:
        """Every value's shape at capture."""
        return infer_shapes(self.graph, self.graph.input_shapes)

    def done(self, guards: Sequence[Guard] = ()) -> Graph:
        """The graph with all edits applied, and more that must hold."""
        edited = [n for i, node in enumerate(self.graph.nodes) for n in self._edits.get(i, (node,))]
        nodes = tuple(
            replace(node, inputs=tuple(self._final(v) for v in node.inputs)) for node in edited
        )
        outputs = tuple(self._final(o) if isinstance(o, int) else o for o in self.graph.outputs)
        graph = self.graph.replace(
            nodes=nodes,
            outputs=outputs,
            same_shape=self._same_shape,
            dtypes=self._dtypes,
            maps=self._maps,
            guards=tuple(dict.fromkeys((*self.graph.guards, *guards))),
        )
        return graph.with_notes(self._notes)

    def _final(self, value: int) -> int:
        while value in self._renamed:
            value = self._renamed[value]
        return value
