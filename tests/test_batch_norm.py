"""The ways a batch norm may sit beside a convolution: folded where that is exact, left alone where it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import error, fast, settle, truth
from torch import Tensor, nn

import pycnn


class Net(nn.Module):
    """conv and bn, joined by `path`."""

    def __init__(self, path: Callable[[nn.Module, Tensor], Tensor], **options: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=options.pop("conv_bias", False))
        self.bn = nn.BatchNorm2d(6, **options)
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return self.path(self, x)


def pair(net: nn.Module, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)).relu()


CASES: dict[str, tuple[Net, dict[str, int]]] = {
    "plain": (Net(pair), {"conv2d": 1, "batch_norm": 0}),
    "conv bias": (Net(pair, conv_bias=True), {"conv2d": 1, "batch_norm": 0}),
    "not affine": (Net(pair, affine=False), {"conv2d": 1, "batch_norm": 0}),
    "no statistics": (Net(pair, track_running_stats=False), {"conv2d": 1, "torch": 1}),
    "pair used twice": (Net(lambda m, x: pair(m, pair(m, x))), {"conv2d": 2, "batch_norm": 0}),
    "one norm after two convs": (
        Net(lambda m, x: m.bn(m.conv(x)) + m.bn(m.conv(x * 2))),
        {"conv2d": 2, "batch_norm": 0},
    ),
    "second consumer": (Net(lambda m, x: (y := m.conv(x)) + m.bn(y)), {"batch_norm": 1}),
    "norm before the conv": (Net(lambda m, x: m.conv(m.bn(x).relu())), {"batch_norm": 1}),
    "norm twice": (Net(lambda m, x: m.bn(m.bn(m.conv(x)))), {"conv2d": 1, "batch_norm": 0}),
}


@pytest.mark.parametrize("case", CASES)
def test_structure_then_numbers(case: str) -> None:
    net, counts = CASES[case]
    settle(net)
    x = torch.randn(2, 6, 9, 7)
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        opt(x)
    graph = opt._compiled.match.program.graph
    assert graph.has(**counts), str(graph)
    assert error(fast(net, x), truth(net, x)) <= 1e-5
