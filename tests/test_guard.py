"""The watch over dicts and tensors that tells a call whether its plan still holds."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from pycnn import _C


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_an_item_is_noticed_behind_any_number_of_changes_beside_it(kind: type) -> None:
    flag, other = object(), object()
    holder, guard = kind(flag=flag), _C.Guard()
    guard.watch_item(holder, "flag", flag)
    for beside in range(3):
        holder[f"beside{beside}"] = beside
        assert guard.holds() and guard.changed() == []
    holder["flag"] = other
    assert not guard.holds() and not guard.holds() and guard.changed() == [0]
    holder["flag"] = flag
    assert guard.holds() and guard.changed() == []
    del holder["flag"]
    assert not guard.holds() and guard.changed() == [0]


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("entries", [{}, {"first": 0}])
def test_what_must_keep_its_number_of_entries(kind: type, entries: dict[str, int]) -> None:
    holder, guard = kind(entries), _C.Guard()
    guard.watch_size(holder)
    assert guard.holds()
    holder["hook"] = 1
    assert not guard.holds() and guard.changed() == [0]
    del holder["hook"]
    assert guard.holds()
    if holder:
        holder.clear()
        assert not guard.holds()


def test_each_attribute_of_a_module_as_it_is_set() -> None:
    module, guard = nn.Linear(2, 2), _C.Guard()
    guard.watch_item(module.__dict__, "training", module.training)
    for _ in range(20):  # so often that the interpreter specialises the assignment
        module.steps = 1
        assert guard.holds()
    for mode in (False, True, False):
        module.training = mode
        assert guard.holds() is mode


def test_the_indices_are_those_of_the_calls() -> None:
    first, second, guard = {"a": 1, "b": 2}, {"a": 3}, _C.Guard()
    tensor = torch.zeros(4)
    third = {"t": tensor}
    guard.watch_item(first, "a", first["a"])
    guard.watch_item(second, "a", second["a"])
    guard.watch_tensor(third, "t", tensor)
    guard.watch_item(first, "b", first["b"])
    first["b"], second["a"] = 8, 9
    tensor += 1
    assert guard.changed() == [1, 2, 3]


EDITS = {
    "in place": lambda t: t.add_(1),
    "other storage": lambda t: setattr(t, "data", torch.zeros(6)[:4]),
    "other place in the same storage": lambda t: setattr(t, "data", t.data[1:]),
    "swapped": lambda t: torch.utils.swap_tensors(t, torch.zeros(4)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_tensor_edited(edit: str) -> None:
    tensors = {name: torch.zeros(4) for name in "abcdefghijklmnop"}
    guard = _C.Guard()
    for name, tensor in tensors.items():
        guard.watch_tensor(tensors, name, tensor)
    assert guard.holds()
    EDITS[edit](tensors["k"])
    assert not guard.holds() and guard.changed() == [10]


def test_a_tensor_without_a_version_is_watched_for_its_storage() -> None:
    with torch.inference_mode():
        tensor = torch.zeros(4)
    holder, guard = {"t": tensor}, _C.Guard()
    guard.watch_tensor(holder, "t", tensor)
    assert guard.holds()
    with torch.inference_mode():
        tensor.data = torch.zeros(4)
    assert not guard.holds()
