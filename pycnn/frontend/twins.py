"""What the tensors that model code holds stand for: twins for values of the graph, the model's own for Sources."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ir import Dim, Source, TensorTable, tensors_in
from .calls import map_leaves
from .memory import Memory


class Twins:
    """Of one capture. Keeps every tensor it knows alive: they are told apart by id."""

    def __init__(self, tensors: TensorTable) -> None:
        """`tensors`: gives Sources to the model's own."""
        self.memory = Memory()
        self._tensors = tensors
        self._values: dict[int, tuple[Tensor, int]] = {}  # id(twin) -> twin, value
        self._sources: dict[int, tuple[Tensor, Source, Tensor]] = {}  # id(real) -> real, ..., twin
        self._originals: dict[int, tuple[Tensor, Tensor]] = {}  # id(twin of a Source) -> twin, real
        self._twin_of: dict[int, Tensor] = {}  # value -> its twin

    def bind(self, twin: Tensor, value: int) -> None:
        """Let `twin` stand for `value` from now on."""
        if id(twin) not in self._values:
            self.memory.add(twin)
        self._values[id(twin)] = (twin, value)
        self._twin_of[value] = twin

    def name(self, twin: Tensor, source: Source) -> None:
        """Let `twin`, which a call made, stand for a tensor of the model."""
        self._sources[id(twin)] = (twin, source, twin)
        self.memory.add(twin)

    def unname(self, twin: Tensor) -> None:
        """Let it stand for nothing again."""
        del self._sources[id(twin)]

    def value_of(self, twin: Tensor) -> int | None:
        """The value `twin` stands for; None if it stands for none; CaptureError if it is stale."""
        self.memory.check(twin)
        return self.stands_for(twin)

    def stands_for(self, twin: Tensor) -> int | None:
        """The value `twin` stands for, stale or not."""
        found = self._values.get(id(twin))
        return None if found is None else found[1]

    def source_of(self, tensor: Tensor) -> Source | None:
        """The Source of a tensor of the model; None for a meta tensor that no traced call made."""
        if id(tensor) not in self._sources:
            if tensor.is_meta:
                return None
            source = self._tensors.source(tensor)
            twin = self._tensors.twin(source)
            self._sources[id(tensor)] = (tensor, source, twin)
            self._originals[id(twin)] = (twin, tensor)
            self.memory.fix(twin, "a tensor of the model")
        return self._sources[id(tensor)][1]

    def twin_of(self, value: int) -> Tensor:
        """The meta twin that stands, or stood, for `value`."""
        return self._twin_of[value]

    def is_new(self, tensor: Tensor) -> bool:
        """Whether it stands neither for a value nor for a real tensor."""
        return id(tensor) not in self._values and not self.is_original(tensor)

    def is_original(self, twin: Tensor) -> bool:
        """Whether it is the twin of a real tensor of the model."""
        return id(twin) in self._originals

    def is_view_of_fixed(self, value: int) -> bool:
        """Whether the value's memory is that of an input or of a tensor of the model."""
        return self.memory.fixed(self._twin_of[value]) is not None

    def meta(self, argument: Any) -> Any:
        """`argument`, of values and Sources, with tensors replaced by meta twins and Dims by plain ints."""

        def leaf(x: Any) -> Any:
            if isinstance(x, Tensor):
                return x if self.value_of(x) is not None else self._sources[id(x)][2]
            return int.__index__(x) if isinstance(x, Dim) else x

        return map_leaves(argument, leaf)

    def given(self, result: Any) -> Any:
        """`result` as model code gets it: the real tensor where torch returned a twin of one."""

        def leaf(x: Any) -> Any:
            return self._originals[id(x)][1] if id(x) in self._originals else x

        if not any(self.is_original(t) for t in tensors_in(result)):
            return result
        return map_leaves(result, leaf)
