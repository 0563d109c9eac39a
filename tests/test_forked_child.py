"""A child forked after calls in its parent runs plans with the same bits, those with torch's own steps too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import torch
from nets import conv_bn, settle
from torch import Tensor, nn

import pycnn


class WithTorchStep(nn.Module):
    """Large enough that its kernels, and torch's op between them, run on OpenMP's threads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv_bn(3, 64), conv_bn(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).cumsum(1))


def in_child(work: Callable[[], bool]) -> int:
    """The exit status of a forked child: 0 for True; -1 if it hangs."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


def eager(x: Tensor) -> Tensor:
    return pycnn.ops.conv2d(x, torch.ones(64, 3, 3, 3))


@pytest.mark.parametrize("name", ["plan", "plan with a torch step", "eager op", "torch"])
def test_the_same_bits_in_a_child(name: str) -> None:
    x = torch.randn(4, 3, 64, 64)
    make: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "plan": lambda: pycnn.optimize(settle(conv_bn(3, 64))),
        "plan with a torch step": lambda: pycnn.optimize(settle(WithTorchStep())),
        "eager op": lambda: eager,
        "torch": lambda: lambda x: x.cumsum(1),
    }
    run = make[name]()
    with torch.inference_mode():
        expected = run(x)
        for _ in range(2):  # the parent goes on as well
            assert in_child(lambda: torch.equal(run(x), expected)) == 0
            assert torch.equal(run(x), expected)


def test_a_shape_that_is_new_to_the_child() -> None:
    net = settle(WithTorchStep())
    fast, x = pycnn.optimize(net), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        fast(x)
        expected = pycnn.optimize(net)(x[:1])
        assert in_child(lambda: torch.equal(fast(x[:1]), expected)) == 0
