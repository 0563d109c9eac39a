"""The watch over dicts and tensors that tells a call whether its plan still holds."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pycnn import _C
from pycnn.watch import learn_tensor_words


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


@pytest.fixture(params=["words", "getters"])
def kind(request: pytest.FixtureRequest) -> type[torch.Tensor]:
    """Of tensors that are watched where torch keeps what changes, and of others."""
    assert learn_tensor_words()
    return torch.Tensor if request.param == "words" else Marked


class Marked(torch.Tensor):
    pass


EDITS = {
    "in place": lambda t: t.add_(1),
    "other storage": lambda t: setattr(t, "data", torch.zeros(6)[:4].as_subclass(type(t))),
    "other place in the same storage": lambda t: setattr(t, "data", t.data[1:]),
    "swapped": lambda t: torch.utils.swap_tensors(t, torch.zeros(4).as_subclass(type(t))),
    "larger": lambda t: t.resize_(1 << 20),
    "another's storage": lambda t: t.set_(torch.zeros(4).as_subclass(type(t))),
    "a parameter's step": lambda t: torch.optim.SGD([with_gradient(t)], lr=0.1).step(),
}


def with_gradient(t: torch.Tensor) -> torch.Tensor:
    t.grad = torch.ones_like(t)
    return t.requires_grad_()


@pytest.mark.parametrize("edit", EDITS)
def test_a_tensor_edited(kind: type[torch.Tensor], edit: str) -> None:
    tensors = {name: torch.zeros(4).as_subclass(kind) for name in "abcdefghijklmnop"}
    guard = _C.Guard()
    for name, tensor in tensors.items():
        guard.watch_tensor(tensors, name, tensor)
    assert guard.holds()
    EDITS[edit](tensors["k"])
    assert not guard.holds() and guard.changed() == [10]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(4)[2:],
        lambda: torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last),
        lambda: torch.zeros(6, dtype=torch.bfloat16)[3:],
        lambda: torch.zeros(0),
        lambda: torch.frombuffer(bytearray(64), dtype=torch.float64)[1:],
        lambda: torch.zeros(1000).view(10, 100)[:, 1],
        lambda: torch.zeros(4, device="meta"),
        lambda: torch.zeros(3).to_sparse(),
    ],
)
def test_any_tensor_is_noticed_or_refused(make: Callable[[], torch.Tensor]) -> None:
    """In place, and given the memory of another like it; torch's getters of a sparse one raise."""
    tensor, guard = make(), _C.Guard()
    holder = {"t": tensor}
    try:
        tensor.data_ptr()
    except RuntimeError:
        with pytest.raises(RuntimeError):
            guard.watch_tensor(holder, "t", tensor)
        return
    guard.watch_tensor(holder, "t", tensor)
    assert guard.holds()
    tensor.zero_()
    assert not guard.holds()
    guard, other = _C.Guard(), make()
    guard.watch_tensor(holder, "t", tensor)
    moved = tensor.data_ptr() != other.data_ptr()  # without elements there is no address
    tensor.data = other
    assert guard.holds() is not moved


def test_samples_that_do_not_tell_are_not_learnt_from() -> None:
    """In a process that has learnt nothing yet: equal versions, zero offsets; then those that do, and it stays so."""
    code = """
import torch
from pycnn import _C, watch
alike = [torch.zeros(4), torch.zeros(4)]
assert not _C.learn_tensor_words(alike, (torch.Tensor,)) and not _C.learn_tensor_words([], (torch.Tensor,))
holder, guard = {"t": alike[0]}, _C.Guard()
guard.watch_tensor(holder, "t", alike[0])
assert watch.learn_tensor_words() and guard.holds()
alike[0].add_(1)
assert not guard.holds() and _C.learn_tensor_words([], (torch.Tensor,))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("edit", [torch.zeros, None])
def test_a_tensor_without_a_version_is_watched_for_its_storage(edit: object) -> None:
    assert learn_tensor_words()
    with torch.inference_mode():
        tensor = torch.zeros(4)
    holder, guard = {"t": tensor}, _C.Guard()
    guard.watch_tensor(holder, "t", tensor)
    assert guard.holds()
    if edit is not None:
        with torch.inference_mode():
            tensor.data = torch.zeros(4)
    assert guard.holds() is (edit is None)
