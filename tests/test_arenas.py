"""Memory that plans run in: aligned, shared by the plans of a model, given back."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import pycnn
from pycnn import _C

LARGE = 5 << 20  # floats: mapped and made present at once


@pytest.mark.parametrize("floats", [1, 17, 1 << 20, (1 << 20) - 16, LARGE, LARGE + 1])
def test_a_buffer_is_aligned_and_holds_what_is_written(floats: int) -> None:
    memory = torch.frombuffer(_C.Buffer(floats), dtype=torch.float32)
    assert memory.data_ptr() % 64 == 0 and memory.numel() >= floats
    memory.copy_(torch.arange(memory.numel()))
    assert torch.equal(memory, torch.arange(memory.numel(), dtype=torch.float32))


def test_tensors_keep_their_buffer() -> None:
    views = [np.frombuffer(_C.Buffer(LARGE), dtype=np.float32) for _ in range(4)]
    for i, view in enumerate(views):
        view.fill(i)
    assert [float(view.max()) for view in views] == [0, 1, 2, 3]


def relu_twice(arenas: _C.Arenas | None, count: int, workers: int = 1) -> _C.Plan:
    """y = relu(relu(x)) through `count` floats of arena."""
    plan = _C.Plan(count * 4, 0, workers, 1, 1, True, arenas)
    params = {"pixels": count, "c": 1, "ldx": 1, "ldy": 1, "act": 1}
    none, middle = ("none", 0), ("arena", 0)
    plan.add("elementwise", "elementwise_reference", params, ("input", 0), none, none, none, middle)
    plan.add(
        "elementwise", "elementwise_reference", params, middle, none, none, none, ("output", 0)
    )
    return plan


def run(plan: _C.Plan, count: int) -> None:
    x, y = torch.randn(count), torch.full((count,), torch.nan)
    plan.run([x.data_ptr()], [y.data_ptr()])
    assert torch.equal(y, x.relu())


def test_plans_of_a_model_run_in_the_same_memory() -> None:
    arenas = _C.Arenas()
    assert arenas.bytes == 0
    small, large = relu_twice(arenas, 1000), relu_twice(arenas, 9000)
    run(small, 1000)
    assert 4000 <= arenas.bytes < 9000
    run(large, 9000)
    most = arenas.bytes
    assert 36000 <= most < 41000  # in place of the small one, not beside it
    run(small, 1000)
    assert arenas.bytes == most
    run(relu_twice(None, 1000), 1000)
    assert arenas.bytes == most


def test_large_memory_grows_in_place_of_being_made_anew() -> None:
    arenas = _C.Arenas()
    for count in (LARGE, LARGE + 3, LARGE + LARGE // 8, 2 * LARGE, 5, 2 * LARGE):
        plan = relu_twice(arenas, count)
        run(plan, count)
        run(plan, count)
        assert arenas.bytes >= count * 4
    assert arenas.bytes < 2 * LARGE * 4 + 3 * 4096


def test_calls_at_once_have_memory_of_their_own() -> None:
    arenas = _C.Arenas()
    plans = [(relu_twice(arenas, count), count) for count in (100, 20_000, 300_000)]
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(60):
                run(*plans[(seed + i) % len(plans)])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert 0 < arenas.bytes <= 6 * 4 * 300_032


def test_arenas_keep_so_many_buffers_and_a_loan_is_one_of_them() -> None:
    arenas = _C.Arenas(2)
    loans = [torch.frombuffer(_C.Loan(arenas, 100 << i), dtype=torch.uint8) for i in range(4)]
    assert len({loan.data_ptr() for loan in loans}) == 4 and arenas.bytes == 0
    assert all(loan.data_ptr() % 64 == 0 for loan in loans)
    largest = {loan.data_ptr() for loan in loans[2:]}
    loans.clear()
    assert 1200 <= arenas.bytes < 1500  # of the two largest
    again = [torch.frombuffer(_C.Loan(arenas, 50), dtype=torch.uint8) for _ in range(2)]
    assert {loan.data_ptr() for loan in again} == largest


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("as_dict", [False, True])
def test_large_results_are_tensors_of_their_own_and_leave_their_memory_to_later_ones(
    channels_last: bool, as_dict: bool
) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 24, 3, padding=1)

        def forward(self, x: torch.Tensor) -> object:
            return {"out": self.conv(x)} if as_dict else self.conv(x)

    net = Net().eval()
    fast = pycnn.optimize(net)
    x = torch.randn(1, 3, 230, 240)
    x = x.to(memory_format=torch.channels_last) if channels_last else x

    def call(y: torch.Tensor) -> torch.Tensor:
        found = fast(y)
        return found["out"] if as_dict else found

    with torch.inference_mode():
        expected = [net.conv(x), net.conv(x + 1)]
        addresses = {call(x).data_ptr()}
        first, second = call(x), call(x + 1)
        for y, of in zip((first, second), expected, strict=True):
            torch.testing.assert_close(y, of, atol=1e-4, rtol=1e-4)
            assert y.stride() == of.stride() and not y._is_view() and y.storage_offset() == 0
            assert y.untyped_storage().nbytes() == y.numel() * 4
        last = second.numpy()  # keeps the memory, without the tensor
        addresses |= {first.data_ptr(), second.data_ptr()}
        assert len(addresses) == 2  # the one of the call whose result is gone again, and another
        kept = last.copy()
        del first, second, y
        third = call(x)
        assert third.data_ptr() in addresses - {last.__array_interface__["data"][0]}
        assert np.array_equal(last, kept)
        last = None
        assert call(x + 2).data_ptr() in addresses
