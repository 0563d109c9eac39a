"""Channel slices are addresses: no step of the plan copies them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import error, fast, settle, truth
from torch import Tensor, nn

import pycnn


class Net(nn.Module):
    """A convolution to 12 channels and a function of (module, map)."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.narrow = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, self.conv(x))


def halves(m: Any, x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return m.narrow(a) + F.silu(torch.cat([b, a], 1))


def uneven(m: Any, x: Tensor) -> Tensor:
    a, b, c = torch.split(x, [1, 5, 6], dim=1)
    return m.narrow(c) * a + b.mean((2, 3), keepdim=True)[:, :1]


def sizes(m: Any, x: Tensor) -> Tensor:
    return torch.cat([p.relu() for p in x.split(5, 1)], 1)


def rows(m: Any, x: Tensor) -> Tensor:
    y = x.mean((2, 3))
    return torch.sigmoid(y[:, -3:]) * y[..., 2:5]


def pooled(m: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x.narrow(1, 3, 7)[:, 1:4], 2).flatten(1)


NETS = [
    halves,
    uneven,
    sizes,
    rows,
    pooled,
    lambda m, x: x[:, 2:9],
    lambda m, x: (x[:, :5] + 0).flatten(1),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("function", NETS)
def test_slices_are_no_torch_steps(function: Any, layout: torch.memory_format) -> None:
    net = settle(Net(function))
    opt = pycnn.optimize(net, strict=True)
    with torch.inference_mode():
        for shape in ((2, 3, 8, 6), (1, 3, 5, 7)):
            x = torch.randn(shape).contiguous(memory_format=layout)
            assert error(opt(x), truth(net, x)) <= 1e-5


def test_a_slice_costs_no_step() -> None:
    net = settle(Net(lambda m, x: m.narrow(x[:, 3:9])))
    opt, x = pycnn.optimize(net), torch.randn(1, 3, 8, 6).to(memory_format=torch.channels_last)
    opt(x)
    assert [s.op for s in pycnn.explain(opt, x).steps] == ["conv2d", "conv2d"]


def test_slices_of_the_input() -> None:
    class Input(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x[:, 1:4]) + x[:, 4:]

    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 7, 4, 5).contiguous(memory_format=layout)
        assert torch.equal(fast(Input(), x, strict=True), Input()(x))


def test_returned_pieces_share_memory_as_in_torch() -> None:
    net = settle(Net(lambda m, x: x.chunk(3, 1)))
    x = torch.randn(2, 3, 4, 5)
    found = fast(net, x)
    assert len({t.untyped_storage().data_ptr() for t in found}) == 1
    for a, b in zip(found, net(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


KEPT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "rows of the image": lambda m, x: x[:, :, 1:3] * 1,
    "a step": lambda m, x: x[:, ::2] * 1,
    "up to a size": lambda m, x: x[:, : x.shape[3]] * 1,
    "narrow to a size": lambda m, x: x.narrow(1, 0, x.shape[3]) * 1,
    "an index": lambda m, x: x[:, 1] * 1,
    "two axes": lambda m, x: x[:, 1:3, 1:3] * 1,
    "pieces of the image": lambda m, x: x.chunk(2, 2)[1] * 1,
}


@pytest.mark.parametrize("case", KEPT)
def test_torch_keeps_it(case: str) -> None:
    net, x = settle(Net(KEPT[case])), torch.randn(2, 3, 8, 6)
    opt = pycnn.optimize(net)
    with torch.inference_mode():
        assert error(opt(x), truth(net, x)) <= 1e-5
    assert any("slice" in line for line in pycnn.explain(opt, x).fallbacks)
