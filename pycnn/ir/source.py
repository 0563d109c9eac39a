"""Where the graph's tensors live: references into the model, never copies.

A `Source` names one parameter or buffer of the live module; the table keeps (holder dict, key) for it, so that the
tensor can be read again after `load_state_dict`, an optimizer step or `p.data = t`, and a swapped tensor is seen.
A derived one is what the model makes of such tensors alone, as a standardised weight: computed anew when it is read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Source:
    """One tensor of the model; `name` is its qualified name, such as "layer1.0.conv1.weight"."""

    index: int
    name: str

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:  # a plan asks for thousands; those of one table differ in the index
        return self.index


Slot = tuple[dict[str, Any], str]  # (module._parameters | module._buffers | vars(module), key)


class TensorTable:
    """The tensors a graph refers to, in the order their Sources were made.

    A tensor that several modules share (tied weights) is one Source with several slots. With a `dtype` floating-point
    parameters and buffers are read in that, as after ``model.to(dtype)``, and so is what the model holds under no name
    (a cache, which a model makes again after `to`); other attributes are as they are.
    """

    def __init__(self, model: nn.Module | None = None, dtype: torch.dtype | None = None) -> None:
        self.dtype = dtype
        self._state: set[int] = set()  # ids of the dicts that hold parameters and buffers
        self._slots: list[tuple[Slot, ...]] = []
        self._twins: dict[int, torch.Tensor] = {}
        self._by_id: dict[int, Source] = {}
        self._modules: list[tuple[dict[str, Any], str, object]] = []
        self._known: dict[int, tuple[str, list[Slot]]] = {}
        self._constants: set[Source] = set()
        self._derived: dict[Source, tuple[Any, Callable[[], torch.Tensor]]] = {}
        if model is not None:
            self._register(model)

    def _register(self, model: nn.Module) -> None:
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            for key, child in module._modules.items():
                self._modules.append((module._modules, key, child))
            self._state |= {id(module._parameters), id(module._buffers)}
            for holder in (module._parameters, module._buffers, vars(module)):
                for key, tensor in holder.items():
                    if isinstance(tensor, torch.Tensor):
                        self._known.setdefault(id(tensor), (prefix + key, []))[1].append(
                            (holder, key)
                        )

    def source(self, tensor: torch.Tensor) -> Source:
        """The Source of a real tensor.  One the model does not hold by name is kept as a constant."""
        found = self._by_id.get(id(tensor))
        if found is None:
            index = len(self._slots)
            name, slots = self._known.get(
                id(tensor), (f"constant{index}", [({"tensor": tensor}, "tensor")])
            )
            found = self._by_id[id(tensor)] = Source(index, name)
            self._slots.append(tuple(slots))
            if id(tensor) not in self._known:
                self._constants.add(found)
        return found

    def derive(
        self,
        recipe: Any,
        compute: Callable[[], torch.Tensor],
        meta: torch.Tensor,
        bases: Iterable[Source],
    ) -> Source:
        """The Source of what `compute` makes of the tensors of `bases`, as `recipe` tells; `meta` is its twin."""
        index = len(self._slots)
        source = Source(index, f"derived{index}")
        slots = (slot for base in bases for slot in self._slots[base.index])
        self._slots.append(tuple(slots))
        self._derived[source], self._twins[index] = (recipe, compute), meta
        return source

    def recipe(self, source: Source) -> Any:
        """How a derived one is made; None: the source is none."""
        return self._derived.get(source, (None,))[0]

    def is_constant(self, source: Source) -> bool:
        """Whether the model holds the tensor under no name."""
        return source in self._constants

    def __getitem__(self, source: Source) -> torch.Tensor:
        """The live tensor, or what is derived of such; KeyError if the model no longer has it."""
        if source in self._derived:
            return self._derived[source][1]()
        tensor = self._held(source)
        return tensor.to(self._dtype_of(source, tensor))

    def _held(self, source: Source) -> torch.Tensor:
        holder, key = self._slots[source.index][0]
        tensor = holder[key]
        if not isinstance(tensor, torch.Tensor):
            raise KeyError(f"{source.name} is {tensor!r} now, it was a tensor at capture")
        return tensor

    def _dtype_of(self, source: Source, tensor: torch.Tensor) -> torch.dtype:
        """In which it is read."""
        if self.dtype is None or not tensor.is_floating_point():
            return tensor.dtype
        state = any(id(holder) in self._state for holder, _ in self._slots[source.index])
        return self.dtype if state or source in self._constants else tensor.dtype

    def shape(self, source: Source) -> tuple[int, ...]:
        derived = source in self._derived
        return tuple((self._twins[source.index] if derived else self._held(source)).shape)

    def dtype_of(self, source: Source) -> torch.dtype:
        """In which it is read."""
        if source in self._derived:
            return self._twins[source.index].dtype
        return self._dtype_of(source, self._held(source))

    def meta(self, source: Source) -> torch.Tensor:
        """A tensor on the meta device like the live one, made once while its layout stays the same."""
        if source in self._derived:
            return self._twins[source.index]
        tensor, twin = self._held(source), self._twins.get(source.index)
        dtype = self._dtype_of(source, tensor)
        if twin is None or twin.shape != tensor.shape or twin.dtype != dtype:
            twin = self._twins[source.index] = meta_like(tensor, dtype)
        return twin

    def cast(self, dtype: torch.dtype) -> TensorTable:
        """The same tensors, read in that dtype; derived ones are computed as before, then cast."""

        def cast(t: torch.Tensor) -> torch.Tensor:
            return t.to(dtype) if t.is_floating_point() else t

        def then_cast(compute: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
            return lambda: cast(compute())

        other = copy.copy(self)
        other.dtype = dtype
        other._twins = {s.index: cast(self._twins[s.index]) for s in self._derived}
        other._derived = {s: (recipe, then_cast(f)) for s, (recipe, f) in self._derived.items()}
        return other

    def twin(self, source: Source) -> torch.Tensor:
        """As `meta`, another one each time."""
        tensor = self._held(source)
        return meta_like(tensor, self._dtype_of(source, tensor))

    def slots(self, source: Source) -> tuple[Slot, ...]:
        """Every (holder dict, key) under which the model holds this tensor."""
        return self._slots[source.index]

    def same_modules(self) -> bool:
        """Whether every submodule is still the one that was captured."""
        return all(holder.get(key) is module for holder, key, module in self._modules)

    def __iter__(self) -> Iterator[Source]:
        return iter(
            sorted((*self._by_id.values(), *self._derived), key=lambda source: source.index)
        )

    def __len__(self) -> int:
        return len(self._slots)


def meta_like(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A meta tensor with the shape, strides and dtype (or the given) of `tensor`, tracking versions and no gradient."""
    return torch.empty_strided(
        tuple(tensor.shape), tensor.stride(), dtype=dtype or tensor.dtype, device="meta"
    )
