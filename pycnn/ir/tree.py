"""Structure around tensors: what went in and what comes out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.utils._pytree as pytree

from .source import Source


@dataclass(frozen=True)
class Const:
    """A leaf of the result that is not a tensor: returned as it is (sizes in it are evaluated again)."""

    value: Any

    def __str__(self) -> str:
        return repr(self.value)


OutputLeaf = int | Const | Source


@dataclass(frozen=True)
class OutputTree:
    """Rebuilds the model's result from its leaves: tuple, list, dict, namedtuple, registered classes, dataclasses."""

    spec: pytree.TreeSpec
    nested: tuple[
        tuple[int, Any, tuple[str, ...], OutputTree], ...
    ] = ()  # (leaf, template, field names, subtree)

    @property
    def is_leaf(self) -> bool:
        """Whether the result is one tensor or constant, bare."""
        return self.spec.is_leaf() and not self.nested

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The result around `leaves`, given in the order `flatten_output` gave them."""
        left, built = list(leaves), dict[int, Any]()
        top: list[Any] = []
        for index in range(self.spec.num_leaves):
            if index not in {entry[0] for entry in self.nested}:
                top.append(left.pop(0))
                continue
            _, template, names, subtree = next(entry for entry in self.nested if entry[0] == index)
            number = subtree.number_of_leaves
            values, left = subtree.unflatten(left[:number]), left[number:]
            built[index] = copy.copy(template)
            for name, value in zip(names, values, strict=True):
                object.__setattr__(built[index], name, value)
            top.append(built[index])
        return pytree.tree_unflatten(top, self.spec)

    @property
    def number_of_leaves(self) -> int:
        return (
            self.spec.num_leaves
            - len(self.nested)
            + sum(entry[3].number_of_leaves for entry in self.nested)
        )


def flatten_output(result: Any) -> tuple[list[Any], OutputTree]:
    """Leaves of a model's result and the tree that puts them back."""
    top, spec = pytree.tree_flatten(result)
    leaves: list[Any] = []
    nested = []
    for index, leaf in enumerate(top):
        if not _is_bare_dataclass(leaf):
            leaves.append(leaf)
            continue
        names = tuple(f.name for f in dataclasses.fields(leaf))
        inner, subtree = flatten_output([getattr(leaf, name) for name in names])
        leaves += inner
        nested.append((index, leaf, names, subtree))
    return leaves, OutputTree(spec, tuple(nested))


def _is_bare_dataclass(leaf: Any) -> bool:
    """A dataclass instance with no attributes besides its fields."""
    if not dataclasses.is_dataclass(leaf) or isinstance(leaf, type):
        return False
    return set(getattr(leaf, "__dict__", ())) <= {f.name for f in dataclasses.fields(leaf)}


_PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    Enum,
    slice,
    range,
    type(None),
    torch.dtype,
    torch.device,
)


def is_plain(leaf: Any) -> bool:
    """Whether `leaf` is of a kind that cannot hide a tensor."""
    return isinstance(leaf, (*_PLAIN, torch.memory_format, torch.layout))


@dataclass(frozen=True)
class InputTree:
    """Structure of (args, kwargs) at capture; `constants[i]` is the value of leaf i, or TENSOR."""

    spec: pytree.TreeSpec
    constants: tuple[Any, ...]

    def tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor] | None:
        """The tensor leaves in graph order; None if structure or a constant differs from capture."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        if spec != self.spec:
            return None
        for leaf, constant in zip(leaves, self.constants, strict=True):
            if isinstance(leaf, torch.Tensor) != (constant is TENSOR):
                return None
            if constant is not TENSOR and not same_constant(leaf, constant):
                return None
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def call(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) of such a call with these tensors, given in graph order."""
        left = iter(tensors)
        leaves = [next(left) if c is TENSOR else c for c in self.constants]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return args, kwargs


class _Placeholder:
    """Is the same object in every copy of what holds it."""

    def __deepcopy__(self, memo: Any) -> _Placeholder:
        return self

    def __reduce__(self) -> str:
        return "TENSOR"


TENSOR = _Placeholder()


def same_constant(a: Any, b: Any) -> bool:
    """Equal and of one type; objects without a useful == are the same only if they are one object."""
    if a is b:
        return True
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:
        return False


def flatten_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], InputTree]:
    """All leaves of (args, kwargs) and the tree that recognises such a call again."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    constants = tuple(TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
    return leaves, InputTree(spec, constants)
