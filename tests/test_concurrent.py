"""One optimised module, or several, called from many threads; `.ci/sanitize thread` runs this file under the thread
sanitizer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import Branches, conv_bn, error, settle, truth
from torch import Tensor, nn

import pycnn
from pycnn import compiled
from pycnn.planning import planner

CALLS = 12


def together(works: list[Callable[[], None]]) -> None:
    """Run each in a thread of its own, all let go at once; the first error of any is raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def guarded(work: Callable[[], None]) -> None:
        start.wait()
        try:
            with torch.inference_mode():
                work()
        except BaseException as error:  # told to the test, in the thread that runs it
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
        assert not thread.is_alive(), "a call hangs"
    if errors:
        raise errors[0]


class WithTorchStep(nn.Module):
    """A plan between whose segments torch runs: its kernels run on OpenMP's threads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(3, 32), conv_bn(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).cumsum(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "pool": Branches,
    "torch step": WithTorchStep,
    "tiny": lambda: conv_bn(3, 4),
}


@pytest.mark.parametrize("name", NETS)
def test_one_module_at_one_shape(name: str) -> None:
    net = settle(NETS[name]())
    fast, x = pycnn.optimize(net, threads=2), torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        expected = fast(x)

    def work() -> None:
        for _ in range(CALLS):
            assert torch.equal(fast(x), expected)

    together([work] * 4)


def test_first_calls_at_once_and_shapes_of_their_own() -> None:
    net = settle(Branches())
    fast, alone = pycnn.optimize(net, threads=2), pycnn.optimize(net, threads=2)
    inputs = [torch.randn(n, 3, s, s) for n, s in ((1, 16), (2, 16), (1, 24), (3, 9))]
    with torch.inference_mode():
        expected = [alone(x) for x in inputs]

    def work_on(x: Tensor, y: Tensor) -> Callable[[], None]:
        def work() -> None:
            for _ in range(CALLS):
                assert torch.equal(fast(x), y)

        return work

    together([work_on(x, y) for x, y in zip(inputs, expected, strict=True)] * 2)


class Two(nn.Module):
    """Called with two tensors, gives two: no direct call. A flag is another graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body = conv_bn(3, 16)

    def forward(self, x: Tensor, y: Tensor, more: bool = False) -> tuple[Tensor, Tensor]:
        a = self.body(x) + self.body(y)
        return (a * 2, a) if more else (a, a.relu())


class TwoInParts(Two):
    """Looks at values: its body runs by itself."""

    def forward(self, x: Tensor, y: Tensor, more: bool = False) -> tuple[Tensor, Tensor]:
        a, b = super().forward(x, y, more)
        return (a, b) if float(a.mean()) > -100 else (b, a)


@pytest.mark.parametrize("net", [Two, TwoInParts], ids=["whole", "in parts"])
@pytest.mark.parametrize(
    "holder, name, n, flags",
    [(planner, "lower", 2, ()), (compiled, "capture", 1, (True,))],
    ids=["plans", "captures"],
)
def test_known_calls_do_not_wait_while_another_thread(
    holder: Any,
    name: str,
    n: int,
    flags: tuple[bool, ...],
    net: type[Two],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast = pycnn.optimize(settle(net()), threads=1)
    x, new = torch.randn(1, 3, 16, 16), torch.randn(n, 3, 16, 16)
    with torch.inference_mode():
        expected, other = fast(x, x), fast._model(new, new, *flags)
    begun, go, work = threading.Event(), threading.Event(), getattr(holder, name)

    def held(*args: Any) -> Any:
        begun.set()
        assert go.wait(timeout=100), "nothing was known without the new one"
        return work(*args)

    monkeypatch.setattr(holder, name, held)

    def first() -> None:
        for y, z in zip(fast(new, new, *flags), other, strict=True):
            torch.testing.assert_close(y, z, rtol=1e-4, atol=1e-4)

    def later() -> None:
        assert begun.wait(timeout=100)
        for _ in range(CALLS):
            assert all(map(torch.equal, fast(x, x), expected))
        go.set()

    together([first, later])
    assert (fast.__dict__["_compiled"].match is not None) == (net is Two)
    with torch.inference_mode():
        assert all(map(torch.equal, fast(x, x), expected))
        first()


def test_two_modules_share_the_team() -> None:
    """One of them finds it taken and runs alone: the bits are the same."""
    nets = [settle(conv_bn(3, 64)), settle(Branches())]
    inputs = [torch.randn(1, 3, 40, 40), torch.randn(2, 3, 24, 24)]
    fasts = [pycnn.optimize(net, threads=2) for net in nets]
    with torch.inference_mode():
        expected = [fast(x) for fast, x in zip(fasts, inputs, strict=True)]

    def work_with(i: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(CALLS):
                assert torch.equal(fasts[i](inputs[i]), expected[i])

        return work

    together([work_with(0), work_with(1)] * 2)


def test_weights_edited_between_calls_of_many_threads() -> None:
    """Each call sees the weights from before or from after the edit, never a mixture."""
    net = settle(conv_bn(3, 16))
    fast, x = pycnn.optimize(net, threads=2), torch.randn(1, 3, 16, 16)
    weight, bias = net[1].weight, net[1].bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    values = [torch.full_like(weight, v) for v in (1.0, 2.0)]
    allowed = []
    with torch.inference_mode():
        for value in values:
            weight.data = value
            allowed.append(fast(x))
    stop = threading.Event()

    def edit() -> None:
        for i in range(CALLS):
            weight.data = values[i % 2]
        stop.set()

    def call() -> None:
        while not stop.is_set():
            y = fast(x)
            assert any(torch.equal(y, a) for a in allowed)

    together([edit, call, call, call])


def test_many_threads_share_one_module() -> None:
    net = settle(Branches())
    opt = pycnn.optimize(net)
    inputs = [torch.randn(1 + i % 3, 3, 16 + i, 20) for i in range(8)]
    refs = [truth(net, x) for x in inputs]
    wrong: list[float] = []

    def work(i: int) -> None:
        with torch.inference_mode():
            for _ in range(20):
                e = error(opt(inputs[i]), refs[i])
                if e > 1e-5:
                    wrong.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
